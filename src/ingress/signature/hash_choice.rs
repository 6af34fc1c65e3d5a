//! Which hash a request is signed with: the row's own, or one that is named out of a closed list.

use std::collections::BTreeMap;

use crate::ingress::{
    Rejection,
    signature::{
        engine::reject,
        scheme::{Absent, Hash, HashFrom, Scheme},
        source::{Context, Source},
    },
};

/// See the module.
pub(in crate::ingress) struct HashChoice {
    default: Hash,
    named: Option<Named>,
}

struct Named {
    source: Source,
    setting: Option<String>,
    names: Vec<(String, Hash)>,
    absent: Absent,
}

impl HashChoice {
    pub(in crate::ingress) fn new(scheme: &Scheme<'_>, options: &BTreeMap<String, String>) -> Result<Self, String> {
        let own = Self { default: scheme.hash, named: None };
        let Some(from) = &scheme.hash_from else { return Ok(own) };
        if let Some(option) = from.source.strip_prefix("config:") {
            let Some(given) = options.get(option) else { return Ok(own) };
            return find(from, given).map(|default| Self { default, named: None }).ok_or_else(|| {
                let names: Vec<&str> = from.names.iter().map(|(name, _)| *name).collect();
                format!("`options.{option}` is `{given}`; write one of {}", names.join(", "))
            });
        }
        let named = Named {
            source: Source::parse(from.source, options)?,
            setting: from.setting.map(str::to_owned),
            names: from.names.iter().map(|(name, hash)| ((*name).to_owned(), *hash)).collect(),
            absent: from.absent,
        };
        Ok(Self { default: scheme.hash, named: Some(named) })
    }

    /// Whether the request's JSON says which.
    pub(in crate::ingress) fn reads_json(&self) -> bool {
        self.named.as_ref().is_some_and(|named| matches!(named.source, Source::Json(_)))
    }

    pub(in crate::ingress) fn choose(&self, context: &Context<'_, '_>) -> Result<Hash, Rejection> {
        let Some(named) = &self.named else { return Ok(self.default) };
        let unsupported = || reject("unsupported_algorithm", "the request names an algorithm that is not offered");
        let text = named.source.read_text(context);
        let mut given = text.iter().flat_map(|text| named.values(text));
        match given.next() {
            None if named.absent == Absent::Default => Ok(self.default),
            None => Err(unsupported()),
            Some(first) if given.any(|other| !other.eq_ignore_ascii_case(first)) => Err(unsupported()),
            Some(first) => {
                let known = named.names.iter().find(|(name, _)| name.eq_ignore_ascii_case(first));
                known.map(|(_, hash)| *hash).ok_or_else(unsupported)
            }
        }
    }
}

impl Named {
    /// The names that stand in the source's text.
    fn values<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let Some(setting) = &self.setting else { return vec![text] };
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(setting)).map(|(_, value)| value.trim()).collect()
    }
}

fn find(from: &HashFrom<'_>, given: &str) -> Option<Hash> {
    from.names.iter().find(|(name, _)| name.eq_ignore_ascii_case(given)).map(|(_, hash)| *hash)
}
