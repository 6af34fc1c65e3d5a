//! Sources and templates, compiled from their text.

use std::{borrow::Cow, collections::BTreeMap};

use crate::ingress::reading::Reading;

/// Where a value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A header, several lines joined by `,`.
    Header(String),
    /// A JSON pointer (RFC 6901) into the body.
    Json(String),
    /// The last form field of that name.
    Form(String),
    /// The last query parameter of that name.
    Query(String),
    /// Captured beside the signature.
    Capture(String),
    /// Text known when the source was compiled.
    Literal(String),
    /// The HTTP method.
    Method,
    /// The URL in the form at hand.
    Url,
    /// The raw body.
    Body,
}

/// What a template is read from.
#[derive(Clone, Copy)]
pub struct Context<'r, 'a> {
    /// The request.
    pub reading: &'r Reading<'a>,
    /// The URL in the form at hand.
    pub url: &'r str,
    /// Names and texts that were captured beside the signature.
    pub captures: &'r [(&'r str, &'r [u8])],
}

impl Source {
    /// Reads a source's text.
    ///
    /// # Errors
    /// Names what is not a source, and what is.
    pub fn parse(text: &str, options: &BTreeMap<String, String>) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        match (kind, name) {
            ("method", "") => return Ok(Self::Method),
            ("url", "") => return Ok(Self::Url),
            ("body", "") => return Ok(Self::Body),
            ("const", _) => return Ok(Self::Literal(name.to_owned())),
            _ => {}
        }
        if name.is_empty() {
            return Err(format!(
                "`{text}` is no source; write body, method, url, header:NAME, json:/POINTER, form:NAME, query:NAME or config:NAME"
            ));
        }
        match kind {
            "header" => Ok(Self::Header(name.to_owned())),
            "json" => Ok(Self::Json(name.to_owned())),
            "form" => Ok(Self::Form(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            "cap" => Ok(Self::Capture(name.to_owned())),
            "config" => options
                .get(name)
                .map(|value| Self::Literal(value.clone()))
                .ok_or_else(|| format!("the source needs `options.{name}`")),
            _ => Err(format!(
                "`{text}` is no source; write body, method, url, header:NAME, json:/POINTER, form:NAME, query:NAME or config:NAME"
            )),
        }
    }

    /// The value, when the request has it. An empty value is a value.
    #[must_use]
    pub fn read<'v>(&'v self, context: &Context<'v, '_>) -> Option<Cow<'v, [u8]>> {
        let reading = context.reading;
        match self {
            Self::Header(name) => reading.header(name),
            Self::Json(pointer) => reading.json_text(pointer).map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            Self::Form(name) => reading.form_value(name).map(Cow::Borrowed),
            Self::Query(name) => reading.query_value(name).map(Cow::Borrowed),
            Self::Capture(name) => {
                context.captures.iter().find(|(known, _)| known == name).map(|(_, value)| Cow::Borrowed(*value))
            }
            Self::Literal(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Method => Some(Cow::Borrowed(reading.request().method.as_bytes())),
            Self::Url => Some(Cow::Borrowed(context.url.as_bytes())),
            Self::Body => Some(Cow::Borrowed(reading.request().body)),
        }
    }

    /// The value as text; `None` also when it is no UTF-8.
    #[must_use]
    pub fn read_text(&self, context: &Context<'_, '_>) -> Option<String> {
        self.read(context).and_then(|value| String::from_utf8(value.into_owned()).ok())
    }
}

/// Text with places for values. Values are never expanded again.
#[derive(Clone, Debug)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Value(Source),
    /// Absent reads as nothing.
    Optional(Source),
    FormSorted,
}

impl Template {
    /// Compiles `…{source}…`; `{?source}` may be absent.
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
            pieces.push(match place.strip_prefix('?') {
                _ if place == "form_sorted" => Piece::FormSorted,
                Some(optional) => Piece::Optional(Source::parse(optional, options)?),
                None => Piece::Value(Source::parse(place, options)?),
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
            Piece::Value(known) => match (known, source) {
                (Source::Header(known), Source::Header(name)) => known.eq_ignore_ascii_case(name),
                _ => known == source,
            },
            Piece::Literal(_) | Piece::Optional(_) | Piece::FormSorted => false,
        })
    }

    /// Whether any of it is read from the body's JSON.
    #[must_use]
    pub fn reads_json(&self) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Value(source) | Piece::Optional(source) => matches!(source, Source::Json(_)),
            Piece::Literal(_) | Piece::FormSorted => false,
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
                Piece::FormSorted => form_sorted(context.reading, sink),
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

/// Distinct pairs of the form in byte order, names and values run together (Twilio).
fn form_sorted(reading: &Reading<'_>, sink: &mut dyn FnMut(&[u8])) {
    let mut pairs: Vec<(&[u8], &[u8])> =
        reading.form().map(|form| form.fields().map(|part| (&*part.name, &*part.value)).collect()).unwrap_or_default();
    pairs.sort_unstable();
    pairs.dedup();
    for (name, value) in pairs {
        sink(name);
        sink(value);
    }
}
