//! A test mail as a mail program writes it (RFC 5322).

use mail_builder::{
    MessageBuilder,
    headers::{address::Address, date::Date, raw::Raw},
};

use crate::{
    domain::{source::SourceSpec, time::Timestamp},
    ingress::signing::{MailDraft, Stamp},
};

/// A mail with what its providers say besides.
pub(super) struct Written<'d> {
    draft: &'d MailDraft,
    /// Without brackets.
    message_id: String,
    at: Timestamp,
    /// Under which name the source's own mail server vouches for the sender.
    authserv_id: Option<String>,
}

impl<'d> Written<'d> {
    pub(super) fn new(spec: &SourceSpec, draft: &'d MailDraft, stamp: &Stamp<'_>) -> Self {
        let id: String = stamp.unique.chars().take(24).collect();
        let message_id = format!("{id}@{}", domain(draft).unwrap_or("localhost"));
        Self { draft, message_id, at: stamp.now, authserv_id: spec.authserv_id.clone() }
    }

    /// The header lines that come with a mail whose parts are posted apart.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let draft = self.draft;
        let mut headers: Vec<(&str, String)> = Vec::new();
        headers.extend(self.results().map(|results| ("Authentication-Results", results)));
        headers.extend([
            ("From", one_line(&draft.from)),
            ("To", one_line(&draft.to)),
            ("Subject", one_line(&draft.subject)),
            ("Date", date(self.at)),
            ("Message-Id", format!("<{}>", self.message_id)),
            ("Mime-Version", "1.0".to_owned()),
            ("Content-Type", "text/plain; charset=\"utf-8\"".to_owned()),
        ]);
        if let Some(answered) = self.answered() {
            headers.push(("In-Reply-To", format!("<{answered}>")));
            headers.push(("References", format!("<{answered}>")));
        }
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The whole mail.
    pub(super) fn raw(&self) -> Result<Vec<u8>, String> {
        let draft = self.draft;
        let mut builder = MessageBuilder::new();
        if let Some(results) = self.results() {
            builder = builder.header("Authentication-Results", Raw::new(results));
        }
        let name = draft.from.split_once('<').map(|(name, _)| one_line(name.trim().trim_matches('"')));
        let from = Address::new_address(name.filter(|name| !name.is_empty()), bare(&draft.from).to_owned());
        builder = builder
            .from(from)
            .to(bare(&draft.to).to_owned())
            .subject(one_line(&draft.subject))
            .date(Date::new(self.at.unix_seconds()))
            .message_id(self.message_id.clone());
        if let Some(answered) = self.answered() {
            builder = builder.in_reply_to(answered.clone()).references(answered);
        }
        builder = builder.text_body(draft.text.as_str());
        for file in &draft.files {
            builder = builder.attachment(file.content_type.as_str(), file.filename.as_str(), &file.bytes[..]);
        }
        builder.write_to_vec().map_err(|fault| format!("the mail cannot be written: {fault}"))
    }

    /// What the mail server that the source trusts says of a sender whom it believes.
    fn results(&self) -> Option<String> {
        let domain = domain(self.draft)?;
        Some(format!("{}; dmarc=pass header.from={domain}", self.authserv_id.as_deref()?))
    }

    fn answered(&self) -> Option<String> {
        Some(one_line(self.draft.in_reply_to.as_deref()?.trim_matches(['<', '>', ' '])))
    }
}

/// The domain of the sender.
pub(super) fn domain(draft: &MailDraft) -> Option<&str> {
    bare(&draft.from).rsplit_once('@').map(|(_, domain)| domain)
}

/// The address of `Name <address>`.
pub(super) fn bare(address: &str) -> &str {
    let inner = address.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or(address, |(inner, _)| inner).trim()
}

/// RFC 5322, section 3.3.
fn date(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        Err(_) => at.to_string(),
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
