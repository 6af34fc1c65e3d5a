//! What providers make of a request before they sign it, where that is more than a template.

use std::borrow::Cow;

use serde_json::Value;

use crate::ingress::{
    body::Form,
    reading::{self, Reading},
    signature::source::Context,
};

/// A canonical form, as it stands in templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canonical {
    /// `{form_sorted}`: the form's distinct pairs in byte order, names and values run together (Twilio).
    FormSorted,
    /// `{plivo_v3}`: the URL with its query sorted, and the form's pairs sorted and run together
    /// (plivo-python 4.63.0, `signature_v3.py`).
    PlivoV3,
    /// `{vonage_params}`: `&name=value` of every field of query and form, or of the JSON object, but `sig`, sorted, with
    /// `_` for `&` and `=` in values (vonage-http-client 1.5.2, `check_signature`).
    VonageParams,
    /// `{json_lines:A,B}`: of the body's top level `A\nvalue\nB\nvalue\n`, without what is not there (SNS).
    JsonLines(Vec<String>),
}

type Pair<'r> = (&'r [u8], &'r [u8]);

impl Canonical {
    /// The form of that name.
    #[must_use]
    pub fn parse(place: &str) -> Option<Self> {
        match place.split_once(':') {
            None if place == "form_sorted" => Some(Self::FormSorted),
            None if place == "plivo_v3" => Some(Self::PlivoV3),
            None if place == "vonage_params" => Some(Self::VonageParams),
            Some(("json_lines", keys)) => Some(Self::JsonLines(keys.split(',').map(str::to_owned).collect())),
            _ => None,
        }
    }

    /// Whether it is read from the body's JSON.
    #[must_use]
    pub const fn reads_json(&self) -> bool {
        matches!(self, Self::JsonLines(_) | Self::VonageParams)
    }

    /// Whether the URL's path stands in it.
    #[must_use]
    pub const fn reads_url(&self) -> bool {
        matches!(self, Self::PlivoV3)
    }

    /// Hands the text to `sink`.
    pub fn feed(&self, context: &Context<'_, '_>, sink: &mut dyn FnMut(&[u8])) {
        match self {
            Self::FormSorted => form_sorted(context.reading, sink),
            Self::PlivoV3 => plivo_v3(context, sink),
            Self::VonageParams => vonage_params(context.reading, sink),
            Self::JsonLines(keys) => json_lines(keys, context.reading, sink),
        }
    }
}

fn pairs<'r>(form: &'r Form<'_>) -> Vec<Pair<'r>> {
    let mut pairs: Vec<Pair<'_>> = form.fields().map(|part| (&*part.name, &*part.value)).collect();
    pairs.sort_unstable();
    pairs
}

fn form_pairs<'r>(reading: &'r Reading<'_>) -> Vec<Pair<'r>> {
    reading.form().map(pairs).unwrap_or_default()
}

fn form_sorted(reading: &Reading<'_>, sink: &mut dyn FnMut(&[u8])) {
    let mut pairs = form_pairs(reading);
    pairs.dedup();
    for (name, value) in pairs {
        sink(name);
        sink(value);
    }
}

fn plivo_v3(context: &Context<'_, '_>, sink: &mut dyn FnMut(&[u8])) {
    let base = context.url.split(['?', '#']).next().unwrap_or_default();
    let (query, form) = (pairs(context.reading.query()), form_pairs(context.reading));
    sink(base.as_bytes());
    if !query.is_empty() || !form.is_empty() {
        sink(b"?");
    }
    for (at, (name, value)) in query.iter().enumerate() {
        sink(if at == 0 { b"" } else { b"&" });
        sink(name);
        sink(b"=");
        sink(value);
    }
    if !query.is_empty() && !form.is_empty() {
        sink(b".");
    }
    for (name, value) in form {
        sink(name);
        sink(value);
    }
}

fn vonage_params(reading: &Reading<'_>, sink: &mut dyn FnMut(&[u8])) {
    let object = if reading.is_json() { reading.json().ok().and_then(Value::as_object) } else { None };
    let fields = object.into_iter().flatten().map(|(name, value)| (name, written(value)));
    let fields: Vec<(&String, Cow<'_, str>)> = fields.collect();
    let mut all = pairs(reading.query());
    all.extend(form_pairs(reading));
    all.extend(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    all.sort_unstable();
    for (name, value) in all.into_iter().filter(|(name, _)| *name != b"sig") {
        sink(b"&");
        sink(name);
        sink(b"=");
        for (at, part) in value.split(|b| matches!(b, b'&' | b'=')).enumerate() {
            sink(if at == 0 { b"" } else { b"_" });
            sink(part);
        }
    }
}

/// A value as text. Lists and objects stand there whole, so that nothing of a body is left unsigned.
fn written(value: &Value) -> Cow<'_, str> {
    reading::text(value).unwrap_or_else(|| Cow::Owned(value.to_string()))
}

fn json_lines(keys: &[String], reading: &Reading<'_>, sink: &mut dyn FnMut(&[u8])) {
    let Ok(body) = reading.json() else { return };
    for key in keys {
        if let Some(value) = body.get(key).and_then(reading::text) {
            sink(key.as_bytes());
            sink(b"\n");
            sink(value.as_bytes());
            sink(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Canonical;
    use crate::ingress::{Inbound, reading::Reading, signature::source::Context};

    #[test]
    fn forms_are_as_the_providers_libraries_make_them() {
        for (place, url, body, expected) in [
            ("form_sorted", "https://a.example/x?q=1", "b=2&a=1&b=2&b=1&c=", "a1b1b2c"),
            ("plivo_v3", "https://a.example/x?z=1&a=%20b#f", "k=v&a=1", "https://a.example/x?a= b&z=1.a1kv"),
            ("plivo_v3", "https://a.example/x", "k=v", "https://a.example/x?kv"),
            ("plivo_v3", "https://a.example/x?b=1", "", "https://a.example/x?b=1"),
            ("plivo_v3", "https://a.example/x", "", "https://a.example/x"),
            ("vonage_params", "https://a.example/x?to=1", "text=a%26b%3Dc&sig=0&a=", "&a=&text=a_b_c&to=1"),
        ] {
            let headers = [("content-type".to_owned(), b"application/x-www-form-urlencoded".to_vec())];
            let request = Inbound { method: "POST", url, headers: &headers, body: body.as_bytes() };
            let (mut text, reading) = (Vec::new(), Reading::new(request, None));
            let form = Canonical::parse(place).unwrap();
            form.feed(&Context::new(&reading), &mut |piece| text.extend_from_slice(piece));
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{place}");
        }
    }
}
