//! How services report back that work on a run for long: the way is opened before they are asked, and what comes by it is
//! kept, whichever process hears it.

use std::{borrow::Cow, sync::LazyLock};

use crate::{
    crypto::Secret,
    executor::{BoxFuture, Stopped, command::reader, mask::MASKED},
};

/// Bytes of the longest line of a report that is read.
pub const MAX_LINE_BYTES: usize = reader::MAX_EVENT_BYTES;
/// What every token begins with.
const TOKEN_PREFIX: &str = "pcb_";
/// Every token, of any run.
pub(super) const TOKEN_FORM: &str = "pcb_[0-9a-v]{52}";

/// The token that is made of this randomness.
#[must_use]
pub fn token(random: &[u8; 32]) -> String {
    format!("{TOKEN_PREFIX}{}", data_encoding::BASE32_DNSSEC.encode(random))
}

/// `text` without tokens.
#[must_use]
pub fn without_tokens(text: &str) -> Cow<'_, str> {
    static FORM: LazyLock<Option<regex::Regex>> = LazyLock::new(|| regex::Regex::new(TOKEN_FORM).ok());
    FORM.as_ref().map_or(Cow::Borrowed(text), |form| form.replace_all(text, MASKED))
}

/// A way back to us for one run.
pub struct Way {
    /// Where reports go.
    pub url: String,
    /// Proves that a report is for this run; nobody else knows it.
    pub token: Secret,
    /// The task that a service named in an attempt before, when this one goes on with it.
    pub task: Option<String>,
}

/// What becomes of reports of attempts before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// They count: the same piece of work goes on.
    Keep,
    /// They and their ways are forgotten.
    Forget,
}

/// Reports of one run, under its lease.
pub trait Callbacks: Send + Sync {
    /// Opens a way; `None` when this server has no URL that it could be reached by.
    fn open(&self, earlier: Earlier) -> BoxFuture<'_, Result<Option<Way>, Stopped>>;

    /// Keeps the id by which the service knows the work.
    fn keep_task<'a>(&'a self, task: &'a str) -> BoxFuture<'a, Result<(), Stopped>>;

    /// Closes all ways, and forgets what came by them.
    fn forget(&self) -> BoxFuture<'_, Result<(), Stopped>>;

    /// Lines that came behind number `after`, in order, some of them.
    fn lines(&self, after: i64) -> BoxFuture<'_, Result<Vec<(i64, String)>, Stopped>>;
}

#[cfg(test)]
mod tests {
    use super::{token, without_tokens};

    #[test]
    fn a_token_is_known_by_its_form() {
        let (one, other) = (token(&[0; 32]), token(&[255; 32]));
        assert_eq!(
            without_tokens(&format!("{{\"a\":\"{one}\",\"{other}\":[]}}")),
            "{\"a\":\"[secret]\",\"[secret]\":[]}"
        );
        assert_eq!(without_tokens("pcb_ and pcb_short"), "pcb_ and pcb_short");
    }
}
