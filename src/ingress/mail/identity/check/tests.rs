use std::net::IpAddr;

use data_encoding::BASE64;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, AuthenticationResults, Parameters,
    arc::ArcSealer,
    common::{
        crypto::{Ed25519Key, RsaKey, Sha256},
        headers::HeaderWriter,
    },
    dkim::DkimSigner,
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use super::{Suspect, check};
use crate::{
    domain::event::{Email, SenderAuth},
    egress::dns::Dns,
    ingress::mail::{
        self, MailLimits,
        identity::{Client, SignedHead, judge},
    },
};

const MAIL: &str = "From: Dana <dana@example.com>\r\nTo: support@agents.example.org\r\nSubject: Order 7\r\n\
                    Message-ID: <m1@example.com>\r\n\r\nWhere is it?\r\n";
const HEADERS: [&str; 4] = ["From", "To", "Subject", "Message-ID"];
const RSA_KEY: &str = include_str!("../../../../../tests/fixtures/mail/dkim-rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../../../tests/fixtures/mail/dkim-rsa.pub");

fn ed25519() -> Ed25519Key {
    Ed25519Key::from_seed_and_public_key(&SEED, &PUBLIC).unwrap()
}

/// RFC 8463, appendix A.2.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const PUBLIC: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72,
    0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fn key_record() -> String {
    format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(&PUBLIC))
}

fn signed(mail: &str, domain: &str, headers: &[&str]) -> String {
    let signer = DkimSigner::from_key(ed25519()).domain(domain).selector("a").headers(headers.iter().copied());
    format!("{}{mail}", signer.sign(mail.as_bytes()).unwrap().to_header())
}

async fn found(raw: &str, records: &[(&str, &str)], client: Option<Client>) -> (SenderAuth, String) {
    found_with(raw, records, client, &[]).await
}

async fn found_with(raw: &str, dns: &[(&str, &str)], client: Option<Client>, sealers: &[&str]) -> (SenderAuth, String) {
    let dns = Dns::of_records(dns).unwrap();
    let mut email: Email = mail::read_mime(raw.as_bytes(), &MailLimits::default()).unwrap().email;
    email.envelope_from = Some("bounce@example.com".to_owned());
    let head = SignedHead::read(raw.as_bytes()).unwrap();
    let sealers: Vec<String> = sealers.iter().map(|sealer| (*sealer).to_owned()).collect();
    let suspect = Suspect { email: &email, signed: &head, client: client.as_ref(), sealers: &sealers };
    judge(&email, &check(&dns, &suspect).await)
}

#[tokio::test]
async fn an_aligned_signature_verifies_the_sender_with_and_without_a_dmarc_record() {
    let key = key_record();
    for (domain, dmarc, expected) in [
        ("example.com", None, SenderAuth::Verified),
        ("example.com", Some("v=DMARC1; p=reject"), SenderAuth::Verified),
        ("mail.example.com", None, SenderAuth::Verified),
        ("mail.example.com", Some("v=DMARC1; p=none"), SenderAuth::Verified),
        ("mail.example.com", Some("v=DMARC1; p=none; adkim=s"), SenderAuth::Unknown),
        ("esp.net", None, SenderAuth::Unknown),
        ("esp.net", Some("v=DMARC1; p=reject"), SenderAuth::Unknown),
    ] {
        let name = format!("a._domainkey.{domain}");
        let mut records = vec![(name.as_str(), key.as_str())];
        records.extend(dmarc.map(|text| ("_dmarc.example.com", text)));
        let (auth, reason) = found(&signed(MAIL, domain, &HEADERS), &records, None).await;
        assert_eq!(auth, expected, "{domain} {dmarc:?}: {reason}");
    }
}

#[tokio::test]
async fn rsa_signatures_hold_too() {
    let key = RsaKey::<Sha256>::from_key_der(PrivateKeyDer::from_pem_slice(RSA_KEY.as_bytes()).unwrap()).unwrap();
    let signer = DkimSigner::from_key(key).domain("example.com").selector("r").headers(HEADERS);
    let raw = format!("{}{MAIL}", signer.sign(MAIL.as_bytes()).unwrap().to_header());
    let record = format!("v=DKIM1; k=rsa; p={RSA_PUBLIC}");
    let records = [("r._domainkey.example.com", record.as_str())];
    assert_eq!(found(&raw, &records, None).await.0, SenderAuth::Verified);
    assert_eq!(found(&raw.replace("Where", "There"), &records, None).await.0, SenderAuth::Failed);
}

#[tokio::test]
async fn what_was_changed_or_is_not_covered_does_not_count() {
    let key = key_record();
    let records = [("a._domainkey.example.com", key.as_str())];
    let good = signed(MAIL, "example.com", &HEADERS);
    let two = good.replacen("From: Dana", "From: Eve <eve@example.com>\r\nFrom: Dana", 1);
    for (what, raw, expected) in [
        ("the body", good.replace("Where is", "Refund"), SenderAuth::Failed),
        ("a header", good.replace("Order 7", "Order 8"), SenderAuth::Failed),
        ("the author", good.replace("dana@", "boss@"), SenderAuth::Failed),
        ("a second author", two, SenderAuth::Failed),
        ("From is not signed", signed(MAIL, "example.com", &["To", "Subject"]), SenderAuth::Unknown),
        ("no signature", MAIL.to_owned(), SenderAuth::Unknown),
        ("no key", good.replace("s=a;", "s=b;"), SenderAuth::Failed),
    ] {
        let (auth, reason) = found(&raw, &records, None).await;
        assert_eq!(auth, expected, "{what}: {reason}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_up_stays_unknown() {
    let raw = signed(MAIL, "example.com", &HEADERS);
    let (auth, reason) = found(&raw, &[("a._domainkey.example.com", "!")], None).await;
    assert_eq!(auth, SenderAuth::Unknown, "{reason}");
    assert!(reason.contains("could not look up"), "{reason}");
}

#[tokio::test]
async fn spf_counts_where_the_client_is_known() {
    let records = [("example.com", "v=spf1 ip4:192.0.2.0/24 -all"), ("_dmarc.example.com", "v=DMARC1; p=reject")];
    let client = |ip: &str| Some(Client { ip: ip.parse::<IpAddr>().unwrap(), helo: "mail.example.com".to_owned() });
    assert_eq!(found(MAIL, &records, client("192.0.2.7")).await.0, SenderAuth::Verified);
    assert_eq!(found(MAIL, &records, client("198.51.100.7")).await.0, SenderAuth::Failed);
    assert_eq!(found(MAIL, &records, None).await.0, SenderAuth::Unknown);
}

#[tokio::test]
async fn the_seal_of_a_trusted_list_stands_for_the_signature_that_it_broke() {
    let key = key_record();
    let records = [("a._domainkey.example.com", key.as_str()), ("a._domainkey.lists.example.org", key.as_str())];
    let dns = Dns::of_records(&records).unwrap();
    let sent = signed(MAIL, "example.com", &HEADERS);
    let message = AuthenticatedMessage::parse(sent.as_bytes()).unwrap();
    let checked = dns.authenticator().verify_dkim(Parameters::new(&message).with_txt_cache(dns.known())).await;
    let results = AuthenticationResults::new("mx.lists.example.org").with_dkim_results(&checked, "dana@example.com");
    let changed = sent.replace("Subject: Order 7", "Subject: [list] Order 7");
    let message = AuthenticatedMessage::parse(changed.as_bytes()).unwrap();
    let sealer = ArcSealer::from_key(ed25519()).domain("lists.example.org").selector("a").headers(HEADERS);
    let seal = sealer.seal(&message, &results, &ArcOutput::default()).unwrap().to_header();
    let forwarded = format!("{seal}{changed}");
    for (sealers, expected) in [
        (&["lists.example.org"][..], SenderAuth::Verified),
        (&["other.example"], SenderAuth::Failed),
        (&[], SenderAuth::Failed),
    ] {
        let (auth, reason) = found_with(&forwarded, &records, None, sealers).await;
        assert_eq!(auth, expected, "{sealers:?}: {reason}");
    }
    let tampered = forwarded.replace("Where is", "Refund");
    assert_eq!(found_with(&tampered, &records, None, &["lists.example.org"]).await.0, SenderAuth::Failed);
}
