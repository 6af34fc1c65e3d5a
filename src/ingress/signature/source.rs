//! Where values are read, compiled from their text.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use crate::ingress::{
    reading::{self, Reading},
    signature::key::Key,
};

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
    /// A claim of the JWT that was proven.
    Claim(String),
    /// Text known when the source was compiled.
    Literal(String),
    /// The text of the key that is tried.
    Secret,
    /// The HTTP method.
    Method,
    /// The URL in the form at hand.
    Url,
    /// The raw body.
    Body,
}

/// What a source is read from.
#[derive(Clone, Copy)]
pub struct Context<'r, 'a> {
    /// The request.
    pub reading: &'r Reading<'a>,
    /// The URL in the form at hand.
    pub url: &'r str,
    /// Names and texts that were captured beside the signature.
    pub captures: &'r [(&'r str, &'r [u8])],
    /// The claims of the JWT that was proven.
    pub claims: Option<&'r Value>,
    /// The key that is tried, or that was proven.
    pub key: Option<&'r Key>,
}

impl<'r, 'a> Context<'r, 'a> {
    /// A request about which nothing is known yet.
    #[must_use]
    pub const fn new(reading: &'r Reading<'a>) -> Self {
        Self { reading, url: reading.request().url, captures: &[], claims: None, key: None }
    }
}

const KINDS: &str =
    "body, method, url, header:NAME, json:/POINTER, form:NAME, query:NAME, claim:NAME, const:TEXT or config:NAME";

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
            ("secret", "") => return Ok(Self::Secret),
            ("const", _) => return Ok(Self::Literal(name.to_owned())),
            _ => {}
        }
        let unknown = || format!("`{text}` is no source; write {KINDS}");
        if name.is_empty() {
            return Err(unknown());
        }
        match kind {
            "header" => Ok(Self::Header(name.to_owned())),
            "json" if name.starts_with('/') => Ok(Self::Json(name.to_owned())),
            "json" => Err(format!("`{text}` is no JSON pointer; write `json:/{name}`")),
            "form" => Ok(Self::Form(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            "cap" => Ok(Self::Capture(name.to_owned())),
            "claim" => Ok(Self::Claim(name.to_owned())),
            "config" => options
                .get(name)
                .map(|value| Self::Literal(value.clone()))
                .ok_or_else(|| format!("the source needs `options.{name}`")),
            _ => Err(unknown()),
        }
    }

    /// The value, when the request has it. An empty value is a value.
    #[must_use]
    pub fn read<'v>(&'v self, context: &Context<'v, '_>) -> Option<Cow<'v, [u8]>> {
        let request = context.reading;
        match self {
            Self::Header(name) => request.header(name),
            Self::Json(pointer) => request.json_text(pointer).map(bytes),
            Self::Form(name) => request.form_value(name).map(Cow::Borrowed),
            Self::Query(name) => request.query_value(name).map(Cow::Borrowed),
            Self::Capture(name) => {
                context.captures.iter().find(|(known, _)| known == name).map(|(_, value)| Cow::Borrowed(*value))
            }
            Self::Claim(name) => reading::text(context.claims?.get(name)?).map(bytes),
            Self::Literal(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Secret => context.key.and_then(Key::text).map(Cow::Borrowed),
            Self::Method => Some(Cow::Borrowed(request.request().method.as_bytes())),
            Self::Url => Some(Cow::Borrowed(context.url.as_bytes())),
            Self::Body => Some(Cow::Borrowed(request.request().body)),
        }
    }

    /// The value as text; `None` also when it is no UTF-8.
    #[must_use]
    pub fn read_text(&self, context: &Context<'_, '_>) -> Option<String> {
        self.read(context).and_then(|value| String::from_utf8(value.into_owned()).ok())
    }

    /// Whether both are read at the same place: names of headers have no case.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(one), Self::Header(other)) => one.eq_ignore_ascii_case(other),
            _ => self == other,
        }
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
