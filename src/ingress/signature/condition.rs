//! What must hold of a request, compiled.

use std::collections::BTreeMap;

use crate::{
    crypto,
    ingress::signature::{
        scheme::Condition,
        source::{Context, Source},
    },
};

/// Conditions that must all hold.
pub(super) struct Conditions {
    tests: Vec<(Source, Test)>,
    media_types: Vec<String>,
    /// A condition asks for an option that is not set: nothing can hold.
    is_impossible: bool,
}

enum Test {
    Has,
    Lacks,
    OneOf(Vec<String>),
    Differs(String),
    StartsWith(Vec<String>),
}

impl Conditions {
    pub(super) fn new(rows: &[Condition<'_>], options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut all = Self { tests: Vec::new(), media_types: Vec::new(), is_impossible: false };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for row in rows {
            let (source, test) = match row {
                Condition::Has(source) => (source, Test::Has),
                Condition::Lacks(source) => (source, Test::Lacks),
                Condition::Equals(source, text) => (source, Test::OneOf(owned(&[text]))),
                Condition::Differs(source, text) => (source, Test::Differs((*text).to_owned())),
                Condition::OneOf(source, texts) => (source, Test::OneOf(owned(texts))),
                Condition::StartsWith(source, texts) => (source, Test::StartsWith(owned(texts))),
                Condition::IsOption(source, option) => match options.get(*option).filter(|value| !value.is_empty()) {
                    Some(value) => (source, Test::OneOf(vec![value.clone()])),
                    None => {
                        all.is_impossible = true;
                        continue;
                    }
                },
                Condition::MediaType(types) => {
                    all.media_types.extend(owned(types));
                    continue;
                }
            };
            all.tests.push((Source::parse(source, options)?, test));
        }
        Ok(all)
    }

    /// Whether the body's media type is one that these conditions allow.
    pub(super) fn accept(&self, media_type: &str) -> bool {
        self.media_types.is_empty() || self.media_types.iter().any(|known| media_type.eq_ignore_ascii_case(known))
    }

    /// Whether any of it is read from the body's JSON.
    pub(super) fn read_json(&self) -> bool {
        self.tests.iter().any(|(source, _)| matches!(source, Source::Json(_)))
    }

    pub(super) fn hold(&self, context: &Context<'_, '_>) -> bool {
        !self.is_impossible
            && self.accept(context.reading.media_type())
            && self.tests.iter().all(|(source, test)| test.holds(source.read(context).as_deref()))
    }
}

impl Test {
    fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Has, value) => value.is_some(),
            (Self::Lacks, value) => value.is_none(),
            (Self::OneOf(texts), Some(value)) => texts.iter().any(|text| crypto::equal(text.as_bytes(), value)),
            (Self::Differs(text), value) => value.is_none_or(|value| !crypto::equal(text.as_bytes(), value)),
            (Self::StartsWith(texts), Some(value)) => texts.iter().any(|text| value.starts_with(text.as_bytes())),
            (Self::OneOf(_) | Self::StartsWith(_), None) => false,
        }
    }
}
