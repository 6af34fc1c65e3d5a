//! The envelope of a mail, which its carrier tells and its headers do not.

use crate::ingress::mail::{ReadMail, automatic, head};

/// The most recipients of one mail that are kept.
const RECIPIENTS: usize = 200;

impl ReadMail {
    /// The mail with its envelope: SMTP MAIL FROM (`None` when the carrier does not tell it, empty for the null
    /// sender) and RCPT TO. Addresses lose their brackets, domains become lower case.
    #[must_use]
    pub fn with_envelope(mut self, from: Option<&str>, to: &[String]) -> Self {
        let from = from.map(head::bare_address);
        if from.as_deref() == Some("") && self.automatic.is_none() {
            self.automatic = Some(automatic::NULL_SENDER.to_owned());
        }
        self.email.envelope_from = from.or(self.email.envelope_from);
        let to = to.iter().map(|address| head::bare_address(address)).filter(|address| !address.is_empty());
        self.email.envelope_to = to.take(RECIPIENTS).collect();
        self.automatic = self.automatic.or_else(|| automatic::own_sender(&self.email));
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::ingress::mail::ReadMail;

    #[test]
    fn an_envelope_is_bare_and_the_null_sender_makes_mail_automatic() {
        let to = ["<A@B.Example>".to_owned(), " ".to_owned()];
        let read = ReadMail::default().with_envelope(Some("<>"), &to);
        assert_eq!(read.email.envelope_from.as_deref(), Some(""));
        assert_eq!(read.email.envelope_to, ["A@b.example"]);
        assert!(read.automatic.is_some());
        let unknown = ReadMail::default().with_envelope(None, &[]);
        assert_eq!((unknown.email.envelope_from, unknown.automatic), (None, None));
    }
}
