//! Keeps the values of secrets out of everything that is recorded or returned.

mod forms;

use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    crypto::Secret,
    executor::{RunSpec, callbacks::TOKEN_FORM},
};

/// What stands where a secret stood.
pub(super) const MASKED: &str = "[secret]";
/// Shorter values are not masked: they would blot out ordinary text.
const MIN_SECRET_BYTES: usize = 6;
/// A single line of a secret of many lines is masked from this length on.
const MIN_SECRET_LINE_BYTES: usize = 16;

/// The secrets of one run, ready to be looked for.
#[derive(Clone)]
pub(super) struct Mask {
    pattern: Option<regex::bytes::Regex>,
    secrets: Arc<Vec<Zeroizing<Vec<u8>>>>,
    /// Of each byte the secrets that begin with it, as places in `secrets`.
    beginning: Arc<Vec<Vec<usize>>>,
    longest: usize,
}

impl Mask {
    /// Knows `extra` and the values of the run's environment that its agent's file took from secrets.
    pub(super) fn new<'a>(spec: &'a RunSpec, extra: impl IntoIterator<Item = &'a Secret>) -> Self {
        use crate::domain::agent::EnvValue;
        let is_plain = |value: Option<&EnvValue>| {
            matches!(value, Some(EnvValue::Text(_) | EnvValue::Number(_) | EnvValue::Switch(_)))
        };
        let agent = &spec.agent.spec;
        let env = spec.env.iter().filter(|(name, _)| !is_plain(agent.env.get(*name)));
        // What a setup knew may stand in its layer.
        let of_setup = |name: &String| agent.setup.as_ref().and_then(|setup| setup.env.get(name));
        let env = env.chain(spec.setup_env.iter().filter(|(name, _)| !is_plain(of_setup(name))));
        let env = env.map(|(_, secret)| secret);
        Self::of(
            env.chain(spec.mcp_secrets.values()).chain(spec.mount_tokens.values()).chain(&spec.hidden).chain(extra),
        )
    }

    /// Knows the tokens of every way back, too.
    pub(super) fn with_tokens(self) -> Self {
        let secrets = self.pattern.as_ref().map_or("", |pattern| pattern.as_str());
        let either = if secrets.is_empty() { "" } else { "|" };
        let both = format!("{secrets}{either}(?-u:{TOKEN_FORM})");
        let pattern = regex::bytes::RegexBuilder::new(&both).size_limit(usize::MAX).build().ok().or(self.pattern);
        Self { pattern, ..self }
    }

    /// Knows no secrets.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self::of(std::iter::empty())
    }

    /// Knows these alone.
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a Secret>) -> Self {
        let mut secrets: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut keep = |bytes: &[u8], least: usize| {
            if bytes.len() >= least && !secrets.iter().any(|known| known.as_slice() == bytes) {
                secrets.push(Zeroizing::new(bytes.to_vec()));
            }
        };
        for secret in values {
            let whole = secret.expose();
            keep(whole, MIN_SECRET_BYTES);
            keep(whole.trim_ascii(), MIN_SECRET_BYTES);
            if whole.contains(&b'\n') {
                whole.split(|byte| *byte == b'\n').for_each(|line| keep(line.trim_ascii(), MIN_SECRET_LINE_BYTES));
            }
            if whole.len() >= MIN_SECRET_BYTES {
                forms::of(whole).iter().chain(&forms::of(whole.trim_ascii())).for_each(|form| keep(form, 0));
            }
        }
        // The longest first: where one secret begins another, the whole of the longer is masked.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let any: Vec<String> =
            secrets.iter().map(|secret| secret.iter().map(|byte| format!("\\x{byte:02x}")).collect()).collect();
        let pattern = (!any.is_empty())
            .then(|| regex::bytes::RegexBuilder::new(&format!("(?-u:{})", any.join("|"))))
            .and_then(|mut builder| builder.size_limit(usize::MAX).build().ok());
        let mut beginning = vec![Vec::new(); 256];
        for (place, secret) in secrets.iter().enumerate() {
            let first = secret.first().and_then(|byte| beginning.get_mut(usize::from(*byte)));
            first.into_iter().for_each(|places| places.push(place));
        }
        let longest = secrets.first().map_or(0, |secret| secret.len());
        Self { pattern, secrets: Arc::new(secrets), beginning: Arc::new(beginning), longest }
    }

    /// What finds a secret in bytes; `None` when there is none to find.
    pub(super) fn finder(&self) -> Option<regex::bytes::Regex> {
        self.pattern.clone()
    }

    /// Whether a secret that is longer than `tail` begins with it.
    fn may_begin_with(&self, tail: &[u8]) -> bool {
        let places = tail.first().and_then(|byte| self.beginning.get(usize::from(*byte)));
        let mut secrets = places.into_iter().flatten().filter_map(|place| self.secrets.get(*place));
        secrets.any(|secret| secret.len() > tail.len() && secret.starts_with(tail))
    }

    /// `text` without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        match &self.pattern {
            Some(pattern) if pattern.is_match(text.as_bytes()) => {
                let masked = pattern.replace_all(text.as_bytes(), regex::bytes::NoExpand(MASKED.as_bytes()));
                String::from_utf8_lossy(&masked).into_owned()
            }
            Some(_) | None => text.to_owned(),
        }
    }

    /// Masks every string and key in `value`.
    pub(super) fn value(&self, value: &mut Value) {
        if self.pattern.is_none() {
            return;
        }
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (key, mut item) in old {
                    self.value(&mut item);
                    fields.insert(self.text(&key), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Masks a stream of bytes, also where a secret lies across two chunks.
pub(super) struct MaskStream<'a> {
    mask: &'a Mask,
    held: Vec<u8>,
}

impl<'a> MaskStream<'a> {
    /// A stream that nothing went through yet.
    pub(super) const fn new(mask: &'a Mask) -> Self {
        Self { mask, held: Vec::new() }
    }

    /// Appends what is safe of `chunk` to `out`; holds back what may be the beginning of a secret.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.mask.pattern.is_none() {
            out.extend_from_slice(chunk);
            return;
        }
        self.held.extend_from_slice(chunk);
        let hold = self.hold_from();
        self.release(hold, out);
    }

    /// Appends what was held back; no more comes.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(self.held.len(), out);
    }

    /// Where the earliest tail begins that a secret also begins with.
    fn hold_from(&self) -> usize {
        let from = self.held.len().saturating_sub(self.mask.longest.saturating_sub(1));
        (from..self.held.len()).find(|at| self.mask.may_begin_with(&self.held[*at..])).unwrap_or(self.held.len())
    }

    fn release(&mut self, hold: usize, out: &mut Vec<u8>) {
        let mut done = 0;
        if let Some(pattern) = &self.mask.pattern {
            for found in pattern.find_iter(&self.held).take_while(|found| found.start() < hold) {
                out.extend_from_slice(&self.held[done..found.start()]);
                out.extend_from_slice(MASKED.as_bytes());
                done = found.end();
            }
        }
        if done < hold {
            out.extend_from_slice(&self.held[done..hold]);
            done = hold;
        }
        self.held.drain(..done);
    }
}

#[cfg(test)]
mod tests {
    use super::{Mask, MaskStream};
    use crate::crypto::Secret;

    fn stream(secrets: &[&str], chunks: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        let mask = Mask::of(secrets.iter());
        let (mut stream, mut out) = (MaskStream::new(&mask), Vec::new());
        chunks.iter().for_each(|chunk| stream.push(chunk.as_bytes(), &mut out));
        stream.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_however_the_stream_is_cut() {
        let text = "key=tok-abc123 and tok-abctok-abc123!";
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(stream(&["tok-abc123"], &[head, tail]), "key=[secret] and tok-abc[secret]!", "cut at {at}");
        }
    }

    #[test]
    fn an_encoded_secret_is_masked_however_the_stream_is_cut() {
        let text = "Authorization: Basic dXNlcjp0b2stYWJjMTIzIQ== and tok-abc123";
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            let masked = stream(&["tok-abc123"], &[head, tail]);
            // What is left of the base64 belongs to what stands around the secret.
            assert_eq!(masked, "Authorization: Basic dXNlcjp[secret]IQ== and [secret]", "cut at {at}");
        }
    }

    #[test]
    fn a_secret_that_begins_another_hides_no_part_of_the_longer() {
        assert_eq!(stream(&["abcdef", "abcdefghi"], &["abcdef", "ghi abcdef"]), "[secret] [secret]");
    }

    #[test]
    fn short_values_stay_and_lines_of_a_long_one_go() {
        assert_eq!(stream(&["on"], &["turn on"]), "turn on");
        let pem = "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END-----";
        assert_eq!(stream(&[pem], &["x MIIEvQIBADANBgkqhkiG9w0 y"]), "x [secret] y");
    }

    #[test]
    fn strings_in_json_are_masked() {
        let secret = Secret::new("p\"ss\nword");
        let mut value = serde_json::json!({"a": ["x p\"ss\nword y"], "p\"ss\nword": 1});
        Mask::of(std::iter::once(&secret)).value(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["x [secret] y"], "[secret]": 1}));
    }
}
