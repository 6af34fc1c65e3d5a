//! Raw mail with its envelope in headers, which are believed when the signed id covers them.

use crate::{
    domain::time::Timestamp,
    ingress::{ParseFault, Parsed, gate::Verified, providers::mail, signing::raw},
};

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    if reading.header(mail::ENVELOPE_FROM).is_some() || reading.header(mail::ENVELOPE_TO).is_some() {
        check_envelope(verified)?;
    }
    mail::raw(verified, at)
}

/// Whether the signed id is that of this mail in this envelope.
///
/// # Errors
/// It is another one.
pub(in crate::ingress) fn check_envelope(verified: &Verified<'_>) -> Result<(), ParseFault> {
    let text = |name: &str| {
        let value = verified.reading().header(name);
        value.map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default()
    };
    let due = raw::envelope_id(&text(mail::ENVELOPE_FROM), &text(mail::ENVELOPE_TO), verified.request().body);
    if verified.replay_id() == Some(&due) {
        return Ok(());
    }
    let detail = "the envelope is not signed: `webhook-id` is not mail_ and the SHA-256 of envelope and mail";
    Err(ParseFault { code: "unsigned_envelope", detail: detail.to_owned() })
}

#[cfg(test)]
mod tests {
    use crate::{
        crypto::Secret,
        domain::{event::Content, source::SourceSpec, time::Timestamp},
        ingress::{
            Inbound, LabelledSecret, ParseFault, Parsed,
            gate::Gate,
            signing::{
                SignedRequest, Stamp,
                raw::{RawMail, raw_mail},
            },
        },
    };

    const NOW: Timestamp = Timestamp(1_795_000_000_000);
    const MAIL: &[u8] = b"From: a@example.com\r\nTo: list@example.com\r\nSubject: Hi\r\n\r\nHello\r\n";

    fn signed(from: Option<&str>, to: &[&str]) -> SignedRequest {
        let secret = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
        let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
        let mail = RawMail { envelope_from: from, envelope_to: &to, raw: MAIL };
        raw_mail(&mail, &Stamp { url: "", secret: Some(&secret), key: None, now: NOW, unique: "" }).unwrap()
    }

    fn read(request: &SignedRequest) -> Result<Parsed, ParseFault> {
        let spec = SourceSpec { provider: "raw_mail".to_owned(), ..SourceSpec::default() };
        let secret = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
        let secrets = vec![LabelledSecret::new("main", secret)];
        let gate = Gate::new(&spec, "https://a.example/in/mta", secrets).unwrap();
        let inbound = Inbound { method: "POST", url: "", headers: &request.headers, body: &request.body };
        gate.parse(&gate.verify(&inbound, NOW).unwrap(), NOW)
    }

    #[test]
    fn an_envelope_is_believed_only_when_it_is_signed() {
        let whole = signed(Some("bounce@example.com"), &["one@agents.example", "two@agents.example"]);
        let Content::Email(email) = read(&whole).unwrap().content else { panic!("no mail") };
        assert_eq!(email.envelope_from.as_deref(), Some("bounce@example.com"));
        assert_eq!(email.envelope_to, ["one@agents.example", "two@agents.example"]);
        assert_eq!(read(&whole).unwrap().dedupe_key, read(&whole).unwrap().dedupe_key);
        for (name, value) in [("x-envelope-to", &b"other@agents.example"[..]), ("x-envelope-from", b"ceo@example.com")]
        {
            let mut changed = whole.clone();
            changed.headers.retain(|(known, _)| known != name);
            assert_eq!(read(&changed).unwrap_err().code, "unsigned_envelope");
            changed.headers.push((name.to_owned(), value.to_vec()));
            assert_eq!(read(&changed).unwrap_err().code, "unsigned_envelope");
        }
        let Content::Email(email) = read(&signed(Some(""), &[])).unwrap().content else { panic!("no mail") };
        assert_eq!((email.envelope_from.as_deref(), email.envelope_to.len()), (Some(""), 0));
        let Content::Email(email) = read(&signed(None, &[])).unwrap().content else { panic!("no mail") };
        assert_eq!(email.envelope_from, None);
    }
}
