//! Raw mail that our worker at Cloudflare hands on (deploy/cloudflare-email-worker.js).

use crate::{
    domain::time::Timestamp,
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        providers::{mail, raw_mail},
    },
};

/// Hex digits of an id that covers the envelope; workers of earlier versions wrote shorter ones.
const DIGITS: usize = 64;

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let digits = verified.replay_id().and_then(|id| id.strip_prefix("mail_")).unwrap_or_default();
    // The id is signed: nobody can make a longer one look like a shorter one.
    if digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        raw_mail::check_envelope(verified)?;
    }
    mail::raw(verified, at)
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
    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==";

    fn read(request: &SignedRequest) -> Result<Parsed, ParseFault> {
        let spec = SourceSpec { provider: "cloudflare_email".to_owned(), ..SourceSpec::default() };
        let secrets = vec![LabelledSecret::new("main", Secret::new(SECRET))];
        let gate = Gate::new(&spec, "https://a.example/in/mail", secrets).unwrap();
        let inbound = Inbound { method: "POST", url: "", headers: &request.headers, body: &request.body };
        gate.parse(&gate.verify(&inbound, NOW).unwrap(), NOW)
    }

    #[test]
    fn the_workers_envelope_cannot_be_changed_on_the_way() {
        let secret = Secret::new(SECRET);
        let to = ["in@agents.example".to_owned()];
        let raw = b"From: a@example.com\r\nSubject: Hi\r\n\r\nHello\r\n";
        let mail = RawMail { envelope_from: Some("a@example.com"), envelope_to: &to, raw };
        let stamp = Stamp { url: "", secret: Some(&secret), key: None, now: NOW, unique: "" };
        let whole = raw_mail(&mail, &stamp).unwrap();
        let Content::Email(email) = read(&whole).unwrap().content else { panic!("no mail") };
        assert_eq!((email.envelope_from.as_deref(), &email.envelope_to[..]), (Some("a@example.com"), &to[..]));
        for name in ["x-envelope-from", "x-envelope-to"] {
            let mut changed = whole.clone();
            changed.headers.retain(|(known, _)| known != name);
            assert_eq!(read(&changed).unwrap_err().code, "unsigned_envelope");
            changed.headers.push((name.to_owned(), b"other@agents.example".to_vec()));
            assert_eq!(read(&changed).unwrap_err().code, "unsigned_envelope");
        }
    }
}
