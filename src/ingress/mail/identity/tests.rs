use super::{Claim, Claims, Evidence, Verdict, judge, results, sender};
use crate::{
    domain::{
        event::{Email, Mailbox, SenderAuth},
        organisation::Alignment,
        source::{SenderCheck, SourceSpec},
    },
    ingress::mail::{self, MailLimits},
};

fn mail_of(from: &[&str]) -> Email {
    let mailbox = |address: &&str| Mailbox { address: (*address).to_owned(), name: None };
    Email { from: from.iter().map(mailbox).collect(), ..Email::default() }
}

fn claim(verdict: Verdict, domain: &str) -> Claim {
    Claim { verdict, domain: domain.to_owned() }
}

fn claims(dkim: &[(Verdict, &str)], spf: Option<(Verdict, &str)>, dmarc: Option<Verdict>) -> Claims {
    Claims {
        by: "the test".to_owned(),
        spf: spf.map(|(verdict, domain)| claim(verdict, domain)),
        dkim: dkim.iter().map(|(verdict, domain)| claim(*verdict, domain)).collect(),
        dmarc,
        alignment: Alignment::Relaxed,
    }
}

#[test]
fn a_sender_is_verified_by_what_is_aligned_and_by_nothing_else() {
    use SenderAuth::{Failed, Unknown, Verified};
    use Verdict::{Fail, Nothing, Pass, Unsure};
    let none: &[(Verdict, &str)] = &[];
    for (dkim, spf, dmarc, expected) in [
        (none, None, None, Unknown),
        (&[(Pass, "example.com")][..], None, None, Verified),
        (&[(Pass, "mail.EXAMPLE.com.")], None, None, Verified),
        (&[(Pass, "evil.net")], None, None, Unknown),
        (&[(Pass, "com")], None, None, Unknown),
        (&[(Fail, "example.com")], None, None, Failed),
        (&[(Fail, "example.com"), (Pass, "example.com")], None, None, Verified),
        (&[(Fail, "example.com"), (Pass, "esp.net")], None, None, Failed),
        (&[(Fail, "example.com")], Some((Pass, "bounce.example.com")), None, Verified),
        (&[(Unsure, "example.com")], None, None, Unknown),
        (none, Some((Pass, "example.com")), None, Verified),
        (none, Some((Pass, "esp.net")), None, Unknown),
        (none, Some((Fail, "example.com")), None, Failed),
        (none, Some((Nothing, "example.com")), None, Unknown),
        (none, None, Some(Pass), Verified),
        (none, Some((Pass, "esp.net")), Some(Fail), Failed),
        (&[(Pass, "mail.example.com")], None, Some(Fail), Failed),
        (&[(Pass, "evil.net")], Some((Pass, "evil.net")), Some(Unsure), Unknown),
    ] {
        let (auth, reason) = judge(&mail_of(&["dana@example.com"]), &[claims(dkim, spf, dmarc)]);
        assert_eq!(auth, expected, "{dkim:?} {spf:?} {dmarc:?}: {reason}");
        assert!(reason.contains("the test"), "{reason}");
    }
}

#[test]
fn strict_alignment_wants_the_same_name() {
    let mut claims = claims(&[(Verdict::Pass, "mail.example.com")], None, None);
    claims.alignment = Alignment::Strict;
    assert_eq!(judge(&mail_of(&["dana@example.com"]), &[claims.clone()]).0, SenderAuth::Unknown);
    assert_eq!(judge(&mail_of(&["dana@mail.example.com"]), &[claims]).0, SenderAuth::Verified);
}

#[test]
fn several_senders_or_none_are_never_trusted() {
    let pass = claims(&[(Verdict::Pass, "example.com")], None, Some(Verdict::Pass));
    for from in [&[][..], &["a@example.com", "b@example.com"], &["example.com"], &["@example.com"], &["a@localhost"]] {
        assert_eq!(judge(&mail_of(from), std::slice::from_ref(&pass)).0, SenderAuth::Failed, "{from:?}");
    }
    let mut twice = mail_of(&["dana@example.com"]);
    twice.headers = vec![("From".to_owned(), "dana@example.com".to_owned()), ("FROM".to_owned(), "broken".to_owned())];
    assert_eq!(judge(&twice, &[pass]).0, SenderAuth::Failed);
}

#[test]
fn the_best_finding_counts() {
    let (pass, fail) = (claims(&[], None, Some(Verdict::Pass)), claims(&[(Verdict::Fail, "example.com")], None, None));
    for both in [[pass.clone(), fail.clone()], [fail.clone(), pass]] {
        assert_eq!(judge(&mail_of(&["dana@example.com"]), &both).0, SenderAuth::Verified);
    }
    let nothing = claims(&[], None, None);
    assert_eq!(judge(&mail_of(&["dana@example.com"]), &[nothing, fail]).0, SenderAuth::Failed);
}

#[test]
fn what_a_sender_can_write_counts_only_when_the_operator_says_so() {
    let pass = claims(&[], None, Some(Verdict::Pass));
    let spec = |sender_check| SourceSpec { sender_check, ..SourceSpec::default() };
    let auth =
        |evidence: &Evidence, check| sender(&mail_of(&["dana@example.com"]), evidence, &spec(check)).unwrap().auth;
    let trusted = Evidence { trusted: vec![pass.clone()], ..Evidence::default() };
    let untrusted = Evidence { untrusted: vec![pass], ..Evidence::default() };
    for (evidence, check, expected) in [
        (&trusted, SenderCheck::Auto, SenderAuth::Verified),
        (&trusted, SenderCheck::Provider, SenderAuth::Verified),
        (&trusted, SenderCheck::Off, SenderAuth::Unknown),
        (&untrusted, SenderCheck::Auto, SenderAuth::Unknown),
        (&untrusted, SenderCheck::Provider, SenderAuth::Verified),
        (&untrusted, SenderCheck::Off, SenderAuth::Unknown),
    ] {
        assert_eq!(auth(evidence, check), expected, "{check:?}");
    }
}

#[test]
fn international_domains_are_compared_and_kept_in_ascii() {
    let email = mail_of(&["dana@bücher.example"]);
    let spec = SourceSpec::default();
    let evidence = Evidence {
        trusted: vec![claims(&[(Verdict::Pass, "xn--bcher-kva.example")], None, None)],
        ..Evidence::default()
    };
    let sender = sender(&email, &evidence, &spec).unwrap();
    assert_eq!((sender.address.as_str(), sender.auth), ("dana@xn--bcher-kva.example", SenderAuth::Verified));
}

#[test]
fn what_a_sender_writes_into_proofs_names_no_domain() {
    let read = |head: &str| {
        let raw = format!("From: Dana <dana@example.com>\r\nSubject: hi\r\n{head}\r\n\r\nhello\r\n");
        mail::read_mime(raw.as_bytes(), &MailLimits::default()).unwrap().email
    };
    for signature in [
        "v=1; x1= =?utf-8?q?a=3B_d=3Dexample.com=3B?= ; d=evil.net; s=a",
        "v=1; x1==?utf-8?B?YTsgZD1leGFtcGxlLmNvbTs=?= ; d=ad.evil.net; s=a",
        "v=1; x1==?utf-8?q?a=3Bd=3Dexample.com=3By=3D;d=ad.evil.net;z=?= ; s=a",
        "v=1; d=evil.net; d=example.com",
    ] {
        for name in ["DKIM-Signature", "dkim-signature ", "DKIM-SIGNATURE\t"] {
            let email = read(&format!("{name}: {signature}"));
            let claims = results::ses(&email, Some("GRAY"), Some("PASS"), Some("GRAY"));
            assert_eq!(judge(&email, &[claims]).0, SenderAuth::Unknown, "{name}: {signature}");
        }
    }
    for results in [
        "mx.example.net; spf=pass smtp.mailfrom==?utf-8?q?x=3B_dmarc=3Dpass=3B?=@evil.net",
        "mx.example.net; spf=pass smtp.mailfrom= =?utf-8?q?x=3B_dmarc=3Dpass=3B?= @evil.net",
        "mx.example.net; dkim=pass header.i=\"x header.d=example.com y\"@evil.net",
        "mx.example.net; spf=pass smtp.helo=evil.net\r\nReturn-Path: <dana@example.com>",
    ] {
        let email = read(&format!("Authentication-Results: {results}"));
        let claims: Vec<Claims> = results::authentication_results(&email, "mx.example.net").into_iter().collect();
        assert_eq!(judge(&email, &claims).0, SenderAuth::Unknown, "{results}");
    }
}

#[test]
fn a_field_put_in_front_of_a_signed_mail_is_not_the_senders() {
    for raw in [
        "Subject: pay evil.net\r\nFrom: dana@example.com\r\nSubject: hello\r\n\r\nhello\r\n",
        "From : x@evil.net\r\nFrom: dana@example.com\r\nSubject: hello\r\n\r\nhello\r\n",
    ] {
        let email = mail::read_mime(raw.as_bytes(), &MailLimits::default()).unwrap().email;
        let found = claims(&[(Verdict::Pass, "example.com")], None, Some(Verdict::Pass));
        assert_eq!(judge(&email, &[found]).0, SenderAuth::Failed, "{raw}");
    }
}
