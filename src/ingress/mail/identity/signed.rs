//! What a later check needs of a raw mail, so that the mail itself need not be kept in memory for it.

use std::net::IpAddr;

use mail_auth::{AuthenticatedMessage, common::crypto::HashAlgorithm, dkim::Canonicalization};

/// Who handed a mail over by SMTP, as the provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// The name in its HELO or EHLO; empty when not known.
    pub helo: String,
}

/// The head of a raw mail with the hashes of its body that its signatures name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: Vec<u8>,
    body_hashes: Vec<BodyHash>,
}

/// How the body was brought into form, hashed, how much of it (0 is all), and the hash.
type BodyHash = (Canonicalization, HashAlgorithm, u64, Vec<u8>);

impl SignedHead {
    /// Reads a raw mail. `None` when it has no head. Hashes the body at most four times, whatever signatures there are:
    /// those that cover a part of the body (`l=`) are not looked at.
    #[must_use]
    pub fn read(raw: &[u8]) -> Option<Self> {
        let message = AuthenticatedMessage::parse(raw)?;
        let head = message.raw_headers().to_vec();
        Some(Self { head, body_hashes: message.body_hashes })
    }

    /// The message as the library checks it.
    pub(super) fn message(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut message = AuthenticatedMessage::parse(&self.head)?;
        message.body_hashes.clone_from(&self.body_hashes);
        Some(message)
    }
}
