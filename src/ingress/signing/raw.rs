//! A raw mail as a mail server hands it on: a Standard Webhook whose id covers the envelope.

use crate::{
    crypto::sha256_hex,
    ingress::{
        providers::mail::{ENVELOPE_FROM, ENVELOPE_TO},
        signature::scheme::{Encoding, Hash, KeyForm},
        signing::{SignedRequest, Stamp, mac::Recipe},
    },
};

/// A mail with the envelope that it came in.
#[derive(Clone, Debug)]
pub struct RawMail<'a> {
    /// SMTP MAIL FROM; empty for the null sender, `None` when it is not known.
    pub envelope_from: Option<&'a str>,
    /// SMTP RCPT TO; empty when it is not known.
    pub envelope_to: &'a [String],
    /// RFC 5322, to the byte.
    pub raw: &'a [u8],
}

/// The request that hands a mail to a source with `provider = "raw_mail"`. The same mail in the same envelope has the
/// same id, so that a mail server may try again.
///
/// # Errors
/// The secret cannot sign, or an address cannot stand in a header.
pub fn raw_mail(mail: &RawMail<'_>, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let from = mail.envelope_from.map(|from| if from.is_empty() { "<>".to_owned() } else { from.to_owned() });
    let to = mail.envelope_to.join(",");
    if from.iter().chain([&to]).any(|text| text.chars().any(char::is_control)) {
        return Err("an address of the envelope has control characters".to_owned());
    }
    let id = envelope_id(from.as_deref().unwrap_or_default(), &to, mail.raw);
    let at = stamp.now.unix_seconds().to_string();
    let recipe = Recipe { hash: Hash::Sha256, key: KeyForm::StandardWebhooks, encoding: Encoding::Base64 };
    let signature = recipe.sign(stamp.secret, &[format!("{id}.{at}.").as_bytes(), mail.raw].concat())?;
    let mut headers = vec![
        ("content-type".to_owned(), b"message/rfc822".to_vec()),
        ("webhook-id".to_owned(), id.into_bytes()),
        ("webhook-timestamp".to_owned(), at.into_bytes()),
        ("webhook-signature".to_owned(), format!("v1,{signature}").into_bytes()),
    ];
    if let Some(from) = from {
        headers.push((ENVELOPE_FROM.to_owned(), from.into_bytes()));
    }
    if !to.is_empty() {
        headers.push((ENVELOPE_TO.to_owned(), to.into_bytes()));
    }
    Ok(SignedRequest { headers, body: mail.raw.to_vec() })
}

/// `mail_` and the hex SHA-256 of both envelope headers, each with a line feed behind it, and the mail.
pub(in crate::ingress) fn envelope_id(from: &str, to: &str, raw: &[u8]) -> String {
    format!("mail_{}", sha256_hex(&[from.as_bytes(), b"\n", to.as_bytes(), b"\n", raw].concat()))
}
