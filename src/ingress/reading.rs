//! A request being read: each view of it is made at most once, when first asked for.

use std::{borrow::Cow, sync::OnceLock};

use serde_json::Value;

use crate::ingress::{
    Inbound,
    body::{self, BodyFault, Form},
};

/// A request and what has been read of it so far.
pub struct Reading<'a> {
    request: Inbound<'a>,
    payload_field: Option<&'static str>,
    form: OnceLock<Result<Form<'a>, BodyFault>>,
    json: OnceLock<Result<Value, BodyFault>>,
    query: OnceLock<Form<'a>>,
}

impl<'a> Reading<'a> {
    /// Reads nothing yet. `payload_field` is the form field in which the provider sends JSON.
    #[must_use]
    pub const fn new(request: Inbound<'a>, payload_field: Option<&'static str>) -> Self {
        Self { request, payload_field, form: OnceLock::new(), json: OnceLock::new(), query: OnceLock::new() }
    }

    /// The request as it came.
    #[must_use]
    pub const fn request(&self) -> Inbound<'a> {
        self.request
    }

    /// A header's value; several lines are joined by `,` (RFC 9110 section 5.3).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        header(self.request.headers, name)
    }

    /// The body's media type as written, without parameters; empty when there is none.
    #[must_use]
    pub fn media_type(&self) -> &'a str {
        media_type(self.content_type())
    }

    /// The character set that the body's media type names.
    #[must_use]
    pub fn charset(&self) -> Option<String> {
        crate::ingress::multipart::parameter(self.content_type(), "charset")
    }

    fn content_type(&self) -> &'a str {
        let line = self.request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        line.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// Whether the body is a form by its media type.
    #[must_use]
    pub fn is_form(&self) -> bool {
        let media_type = self.media_type();
        ["application/x-www-form-urlencoded", "multipart/form-data"].iter().any(|t| media_type.eq_ignore_ascii_case(t))
    }

    /// Whether the body is JSON by its media type.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let media_type = self.media_type();
        media_type.eq_ignore_ascii_case("application/json") || media_type.to_ascii_lowercase().ends_with("+json")
    }

    /// The body as a form; an empty one when its media type says that it is none.
    ///
    /// # Errors
    /// It is a form by its media type and cannot be read as one.
    pub fn form(&self) -> Result<&Form<'a>, &BodyFault> {
        self.form
            .get_or_init(|| {
                let media_type = self.media_type();
                if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                    body::read_urlencoded(self.request.body)
                } else if media_type.eq_ignore_ascii_case("multipart/form-data") {
                    crate::ingress::multipart::read(self.request.body, self.content_type())
                } else {
                    Ok(Form::default())
                }
            })
            .as_ref()
    }

    /// The last form field of that name, in this very case.
    #[must_use]
    pub fn form_value(&self, name: &str) -> Option<&[u8]> {
        self.form().ok()?.last(name)
    }

    /// The last form field of that name as text; see [`body::text`].
    #[must_use]
    pub fn form_text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.form_value(name).map(body::text)
    }

    /// The body as JSON, or the JSON in the form field in which the provider sends it.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn json(&self) -> Result<&Value, &BodyFault> {
        self.json
            .get_or_init(|| match (self.is_form(), self.payload_field) {
                (false, _) => body::read_json(self.request.body),
                (true, Some(field)) => body::read_json(self.form_value(field).ok_or(BodyFault::NoJson)?),
                (true, None) => Err(BodyFault::NoJson),
            })
            .as_ref()
    }

    /// A string, number or boolean in the JSON, as text.
    #[must_use]
    pub fn json_text(&self, pointer: &str) -> Option<Cow<'_, str>> {
        text(self.json().ok()?.pointer(pointer)?)
    }

    /// The URL's query, decoded, in order.
    #[must_use]
    pub fn query(&self) -> &Form<'a> {
        self.query.get_or_init(|| {
            let url = self.request.url.split('#').next().unwrap_or_default();
            let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
            body::read_urlencoded(query.as_bytes()).unwrap_or_default()
        })
    }

    /// The last query parameter of that name.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<&[u8]> {
        self.query().last(name)
    }
}

/// A string, number or boolean as text.
#[must_use]
pub fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A header's value among `headers`; several lines are joined by `,`.
#[must_use]
pub fn header<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let first = lines.next()?;
    let mut joined = Cow::Borrowed(first.as_slice());
    for line in lines {
        let text = joined.to_mut();
        text.push(b',');
        text.extend_from_slice(line);
    }
    Some(joined)
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
