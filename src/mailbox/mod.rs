//! Mailboxes over IMAP4rev1 (RFC 3501): the few commands that taking mail needs.
//!
//! The client is our own because the server is not to be trusted: what it sends is read line by line under limits
//! that the command sets, nothing is kept that was not asked for, and nothing recurses.

mod command;
mod fetch;
mod login;
mod session;
mod wire;

pub use login::open;
pub use session::{Body, Selected, Session, Summary};

use crate::egress::EgressError;

/// Why a mailbox cannot be read. Text of the server is cut and freed of control characters; no secrets.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// No connection.
    #[error("{0}")]
    Connect(#[from] EgressError),
    /// The connection ended or broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No answer to a command in its time.
    #[error("the server did not answer within {0} s")]
    Slow(u64),
    /// What came is no IMAP, or more than was asked for.
    #[error("the server sent what it should not: {0}")]
    Protocol(&'static str),
    /// The server said goodbye.
    #[error("the server ended the session: {0}")]
    Bye(String),
    /// The server refused a command.
    #[error("the server refused {command}: {text}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// The server's words.
        text: String,
    },
    /// The server does not offer what the settings ask for.
    #[error("the server offers no {0}")]
    Missing(&'static str),
    /// User, password or token are wrong, or the server says so.
    #[error("the server refused the login: {0}")]
    Login(String),
    /// The password or token is not there.
    #[error("{0}")]
    Secret(String),
}

impl MailboxError {
    /// Whether only a person can help: trying often would lock the account.
    #[must_use]
    pub const fn is_about_login(&self) -> bool {
        matches!(self, Self::Login(_) | Self::Secret(_) | Self::Missing(_))
    }

    /// Whether the server answered and said no, so that the session goes on.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Words of a server, safe to show: one line, at most 200 characters.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(200).collect()
}
