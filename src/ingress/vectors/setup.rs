//! From the words of a vector to a source of ours.

use serde_json::json;

use crate::{
    crypto::Secret,
    domain::source::SourceSpec,
    ingress::{LabelledSecret, gate::Gate, providers, vectors::Vector},
};

/// Schemes that are shapes of one provider's requests here.
const ALIASES: &[(&str, &str)] = &[
    ("generic_bearer", "bearer"),
    ("gitlab_signed", "gitlab"),
    ("sendgrid_inbound", "sendgrid"),
    ("standard_webhooks", "standard"),
    ("standard_webhooks_asym", "standard"),
    ("svix", "standard"),
];

impl Vector {
    /// The source that such a request would come to.
    ///
    /// # Errors
    /// There is no such provider.
    pub fn spec(&self) -> Result<SourceSpec, String> {
        let (provider, signature) = match self.scheme.as_str() {
            "generic_hmac" => ("hmac", Some(self.own_signature("{body}", None))),
            "generic_hmac_ts" => ("hmac", Some(self.own_signature("{header:X-Timestamp}.{body}", Some("X-Timestamp")))),
            _ => (self.known_provider()?, None),
        };
        let signature = signature.map(serde_json::from_value).transpose().map_err(|fault| fault.to_string())?;
        let mut spec = SourceSpec { provider: provider.to_owned(), signature, ..SourceSpec::default() };
        spec.options.clone_from(&self.config);
        // Some recorded secrets are shorter than we would let anybody choose.
        spec.options.insert("allow_short_secret".to_owned(), "true".to_owned());
        Ok(spec)
    }

    /// The gate of that source.
    ///
    /// # Errors
    /// The secrets cannot be used, or there is no such provider.
    pub fn gate(&self) -> Result<Gate, String> {
        Gate::new(&self.spec()?, self.public_url(), self.labelled_secrets())
    }

    /// The URL without its query.
    #[must_use]
    pub fn public_url(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// The secrets under the names `s0`, `s1`, …
    #[must_use]
    pub fn labelled_secrets(&self) -> Vec<LabelledSecret> {
        let labelled = |(n, text): (usize, &String)| LabelledSecret {
            label: format!("s{n}"),
            secret: Secret::new(text.as_bytes()),
        };
        self.secrets.iter().enumerate().map(labelled).collect()
    }

    fn known_provider(&self) -> Result<&str, String> {
        let alias = |name: &str| ALIASES.iter().find(|(scheme, _)| *scheme == name).map(|(_, provider)| *provider);
        let names = [Some(self.scheme.as_str()), alias(&self.scheme), Some(self.provider.as_str())];
        let known = names.into_iter().flatten().find(|name| providers::find(name).is_ok());
        known.ok_or_else(|| providers::find(&self.scheme).err().unwrap_or_default())
    }

    fn own_signature(&self, signed: &str, time: Option<&str>) -> serde_json::Value {
        let is_there = |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let id = if is_there("X-Request-Id") { "X-Request-Id" } else { "Idempotency-Key" };
        json!({ "header": "X-Signature", "signed": signed, "timestamp_header": time, "id_header": id })
    }
}
