//! From the words of a vector to a source of ours.

use crate::{
    crypto::Secret,
    domain::source::SourceSpec,
    ingress::{LabelledSecret, gate::Gate, providers, vectors::Vector},
};

impl Vector {
    /// The source that such a request would come to.
    ///
    /// # Errors
    /// There is no such provider.
    pub fn spec(&self) -> Result<SourceSpec, String> {
        let provider = self.known_provider()?.to_owned();
        let mut spec = SourceSpec { provider, ..SourceSpec::default() };
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
        let labelled = |(n, text): (usize, &String)| LabelledSecret::new(format!("s{n}"), Secret::new(text.as_bytes()));
        self.secrets.iter().enumerate().map(labelled).collect()
    }

    fn known_provider(&self) -> Result<&str, String> {
        let names = [self.scheme.as_str(), self.provider.as_str()];
        let known = names.into_iter().find(|name| providers::find(name).is_ok());
        known.ok_or_else(|| providers::find(&self.scheme).err().unwrap_or_default())
    }
}
