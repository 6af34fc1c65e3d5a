//! Text with places for values, compiled. Values are never expanded again.

use std::collections::BTreeMap;

use crate::ingress::signature::{
    canonical::Canonical,
    source::{Context, Source},
};

/// Text with places for values.
#[derive(Clone, Debug)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Value(Source),
    /// Absent reads as nothing.
    Optional(Source),
    Canonical(Canonical),
    /// Hex HMAC-SHA256 of the value with the key that was proven.
    Hmac(Source),
}

impl Template {
    /// Compiles `…{source}…`; `{?source}` may be absent; `{form_sorted}` and its kin are canonical forms.
    ///
    /// # Errors
    /// Names the place that is no source.
    pub fn parse(text: &str, options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) =
                after.split_once('}').ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
            if !before.is_empty() {
                pieces.push(Piece::Literal(before.to_owned()));
            }
            pieces.push(match (Canonical::parse(place), place.strip_prefix('?'), place.strip_prefix("hmac:")) {
                (Some(form), _, _) => Piece::Canonical(form),
                (None, Some(optional), _) => Piece::Optional(Source::parse(optional, options)?),
                (None, None, Some(value)) => Piece::Hmac(Source::parse(value, options)?),
                (None, None, None) => Piece::Value(Source::parse(place, options)?),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Whether a value of `source` must be there for this text.
    #[must_use]
    pub fn needs(&self, source: &Source) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Value(known) => known.is(source),
            Piece::Literal(_) | Piece::Optional(_) | Piece::Canonical(_) | Piece::Hmac(_) => false,
        })
    }

    /// Whether every place is one that `holds` for.
    #[must_use]
    pub fn all(&self, holds: impl Fn(&Source) -> bool) -> bool {
        self.0.iter().all(|piece| match piece {
            Piece::Value(source) | Piece::Optional(source) => holds(source),
            Piece::Literal(_) | Piece::Canonical(_) => true,
            Piece::Hmac(_) => false,
        })
    }

    /// Whether any of it is read from the body's JSON.
    #[must_use]
    pub fn reads_json(&self) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Value(source) | Piece::Optional(source) | Piece::Hmac(source) => matches!(source, Source::Json(_)),
            Piece::Canonical(form) => form.reads_json(),
            Piece::Literal(_) => false,
        })
    }

    /// Whether the URL stands in it, in any form.
    #[must_use]
    pub fn reads_url(&self) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Value(source) | Piece::Optional(source) | Piece::Hmac(source) => *source == Source::Url,
            Piece::Canonical(form) => form.reads_url(),
            Piece::Literal(_) => false,
        })
    }

    /// Hands the text to `sink` piece by piece, nothing copied.
    ///
    /// # Errors
    /// The source that the request lacks.
    pub fn feed<'t>(&'t self, context: &Context<'_, '_>, sink: &mut dyn FnMut(&[u8])) -> Result<(), &'t Source> {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => sink(text.as_bytes()),
                Piece::Value(source) => sink(&source.read(context).ok_or(source)?),
                Piece::Optional(source) => sink(&source.read(context).unwrap_or_default()),
                Piece::Canonical(form) => form.feed(context, sink),
                Piece::Hmac(source) => {
                    let value = source.read(context).ok_or(source)?;
                    sink(context.key.and_then(|key| key.hmac_sha256_hex(&value)).ok_or(source)?.as_bytes());
                }
            }
        }
        Ok(())
    }

    /// The text, when every source is there, it is UTF-8 and not empty.
    #[must_use]
    pub fn render(&self, context: &Context<'_, '_>) -> Option<String> {
        let mut bytes = Vec::new();
        self.feed(context, &mut |piece| bytes.extend_from_slice(piece)).ok()?;
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    }
}
