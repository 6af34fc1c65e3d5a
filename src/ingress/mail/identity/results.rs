//! What providers say about a mail's origin, read into [`Claims`].

use crate::{
    domain::{event::Email, organisation::Alignment},
    ingress::mail::identity::{Claim, Claims, Verdict},
};

/// Signatures of one mail that are looked at; more are no sign of a better mail.
const MOST_SIGNATURES: usize = 10;

/// The topmost `Authentication-Results` (RFC 8601), when it is the one that `authserv_id` wrote. Lower ones came with
/// the mail: anybody could have written them.
#[must_use]
pub fn authentication_results(email: &Email, authserv_id: &str) -> Option<Claims> {
    read(email, header(email, "Authentication-Results")?).filter(|claims| claims.by.eq_ignore_ascii_case(authserv_id))
}

/// Reads the value of an `Authentication-Results`, whoever wrote it.
pub(super) fn read(email: &Email, value: &str) -> Option<Claims> {
    let text = without_comments(value);
    let mut parts = text.split(';');
    let named = parts.next()?.split_whitespace().next()?;
    let mut claims = Claims { by: named.to_owned(), ..Claims::default() };
    for part in parts {
        let mut words = part.split_whitespace();
        let Some((method, result)) = words.next().and_then(|word| word.split_once('=')) else { continue };
        let verdict = Verdict::of(result);
        let properties: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let property = |names: &[&str]| {
            let found = properties.iter().find(|(name, _)| names.iter().any(|known| name.eq_ignore_ascii_case(known)));
            found.map(|(_, value)| domain_in(value))
        };
        match method.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "spf" => {
                // SPF of the HELO name says nothing of the envelope sender, who wrote what stands in `Return-Path`.
                let of_helo = property(&["smtp.helo"]).is_some();
                let domain = property(&["smtp.mailfrom", "smtp.mail", "smtp.mfrom"])
                    .or_else(|| envelope_domain(email).filter(|_| !of_helo));
                claims.spf = domain.map(|domain| Claim { verdict, domain });
            }
            "dkim" if claims.dkim.len() < MOST_SIGNATURES => {
                let domain = property(&["header.d"]).or_else(|| property(&["header.i"]));
                claims.dkim.extend(domain.map(|domain| Claim { verdict, domain }));
            }
            // The author's domain stands there too; a result about another one is none about this mail.
            "dmarc" if property(&["header.from"]).is_none_or(|domain| is_author(email, &domain)) => {
                claims.dmarc = (verdict != Verdict::Nothing).then_some(verdict);
            }
            _ => {}
        }
    }
    Some(claims)
}

/// Mailgun's `X-Mailgun-Spf` and `X-Mailgun-Dkim-Check-Result`. They are its own only when the domain's spam filter is
/// set to "mark with MIME headers" (documentation.mailgun.com, "Spam filter"); else senders can write them. Neither
/// names a domain: SPF is about the envelope sender, DKIM about the signatures in the mail, and counts only when all of
/// them are of one domain.
#[must_use]
pub fn mailgun(email: &Email) -> Option<Claims> {
    let (spf, dkim) = (only(email, "X-Mailgun-Spf"), only(email, "X-Mailgun-Dkim-Check-Result"));
    if spf.is_none() && dkim.is_none() {
        return None;
    }
    let domains = signing_domains(email);
    let one = domains.first().filter(|first| domains.iter().all(|domain| domain == *first));
    let claim =
        |verdict: Option<&str>, domain: Option<String>| Some(Claim { verdict: Verdict::of(verdict?), domain: domain? });
    Some(Claims {
        by: "Mailgun".to_owned(),
        spf: claim(spf, envelope_domain(email)),
        dkim: claim(dkim, one.cloned()).into_iter().collect(),
        dmarc: None,
        alignment: Alignment::Relaxed,
    })
}

/// SendGrid's fields `SPF` (`pass`, `softfail`, …; of the envelope sender) and `dkim`
/// (`{@example.com : pass, @esp.net : fail}`), as its Inbound Parse posts them.
#[must_use]
pub fn sendgrid(email: &Email, spf: Option<&str>, dkim: Option<&str>) -> Claims {
    let list = dkim.unwrap_or_default().trim().trim_start_matches('{').trim_end_matches('}');
    let signature = |pair: &str| {
        let (domain, verdict) = pair.rsplit_once(':')?;
        let domain = domain.trim().trim_start_matches('@').to_owned();
        (domain != "none").then(|| Claim { verdict: Verdict::of(verdict), domain })
    };
    let spf = spf.and_then(|word| Some(Claim { verdict: Verdict::of(word), domain: envelope_domain(email)? }));
    Claims {
        by: "SendGrid".to_owned(),
        spf,
        dkim: list.split(',').filter_map(signature).take(MOST_SIGNATURES).collect(),
        dmarc: None,
        alignment: Alignment::Relaxed,
    }
}

/// The `status` words of the verdicts in an SES receipt (`PASS`, `FAIL`, `GRAY`, `PROCESSING_FAILED`). SES says of DKIM
/// only whether the signatures held, not whose they are; its DMARC verdict is `GRAY` where the domain has no record.
#[must_use]
pub fn ses(email: &Email, spf: Option<&str>, dkim: Option<&str>, dmarc: Option<&str>) -> Claims {
    let domains = signing_domains(email);
    let one = domains.first().filter(|first| domains.iter().all(|domain| domain == *first));
    let dmarc = dmarc.map(Verdict::of).filter(|verdict| *verdict != Verdict::Nothing);
    Claims {
        by: "Amazon SES".to_owned(),
        spf: spf.and_then(|word| Some(Claim { verdict: Verdict::of(word), domain: envelope_domain(email)? })),
        dkim: dkim
            .and_then(|word| Some(Claim { verdict: Verdict::of(word), domain: one?.clone() }))
            .into_iter()
            .collect(),
        dmarc,
        alignment: Alignment::Relaxed,
    }
}

fn header<'e>(email: &'e Email, name: &str) -> Option<&'e str> {
    email.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A header that stands there once: of several, one is the sender's.
fn only<'e>(email: &'e Email, name: &str) -> Option<&'e str> {
    let mut found = email.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value.as_str())
}

/// The `d=` of every DKIM signature, in lower case.
fn signing_domains(email: &Email) -> Vec<String> {
    let signatures = email.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("DKIM-Signature"));
    let domain = |(_, value): &(String, String)| {
        let tag = value.split(';').filter_map(|tag| tag.split_once('=')).find(|(name, _)| name.trim() == "d");
        tag.map(|(_, domain)| domain.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase())
    };
    signatures.map(|signature| domain(signature).unwrap_or_default()).collect()
}

fn envelope_domain(email: &Email) -> Option<String> {
    let (_, domain) = email.envelope_from.as_deref()?.rsplit_once('@')?;
    Some(domain.to_owned())
}

fn is_author(email: &Email, domain: &str) -> bool {
    let author = email.from.first().and_then(|from| from.address.rsplit_once('@'));
    author.is_some_and(|(_, author)| author.eq_ignore_ascii_case(domain))
}

/// The domain of `user@domain`, `@domain` or `domain`, perhaps quoted.
fn domain_in(value: &str) -> String {
    let value = value.trim_matches(['"', '<', '>', ';']);
    value.rsplit_once('@').map_or(value, |(_, domain)| domain).to_owned()
}

/// Comments in parentheses left out; what is quoted stays.
fn without_comments(value: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::with_capacity(value.len()), 0_usize, false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => {
                depth += 1;
                continue;
            }
            ')' if !quoted => {
                depth = depth.saturating_sub(1);
                continue;
            }
            _ => {}
        }
        // A `;` or a blank inside quotes must not begin a result or a property of its own.
        if depth == 0 && !(quoted && (c == ';' || c.is_whitespace())) {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{authentication_results, mailgun, sendgrid, ses};
    use crate::{
        domain::event::{Email, Mailbox, SenderAuth},
        ingress::mail::identity::{Verdict, judge},
    };

    fn mail(headers: &[(&str, &str)]) -> Email {
        Email {
            from: vec![Mailbox { address: "dana@example.com".to_owned(), name: None }],
            envelope_from: Some("bounce@mail.example.com".to_owned()),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Email::default()
        }
    }

    fn auth(email: &Email, claims: Option<super::Claims>) -> SenderAuth {
        judge(email, &claims.into_iter().collect::<Vec<_>>()).0
    }

    #[test]
    fn the_topmost_results_of_the_named_server_count() {
        let good = "mx.example.net 1; dkim=pass (2048-bit key; unprotected) header.d=example.com header.i=@example.com; \
                    spf=softfail smtp.mailfrom=esp.net; dmarc=pass (p=REJECT) header.from=example.com";
        let email = mail(&[("Authentication-Results", good)]);
        let claims = authentication_results(&email, "MX.example.net").unwrap();
        assert_eq!((claims.dmarc, claims.dkim.len()), (Some(Verdict::Pass), 1));
        assert_eq!(claims.spf.unwrap().domain, "esp.net");
        assert!(authentication_results(&email, "mx.example.org").is_none());
        let below = mail(&[("Authentication-Results", "other; dmarc=fail"), ("Authentication-Results", good)]);
        assert!(authentication_results(&below, "mx.example.net").is_none(), "a lower one came with the mail");
    }

    #[test]
    fn comments_quotes_and_other_domains_cannot_smuggle_a_result() {
        for value in [
            "mx.example.net (dmarc=pass; dmarc=pass); dmarc=fail header.from=example.com",
            "mx.example.net; spf=fail smtp.mailfrom=\"x; dmarc=pass\"@example.com",
            "mx.example.net; dmarc=pass header.from=evil.net",
            "mx.example.net; dkim=fail reason=\"; dkim=pass header.d=example.com\" header.d=example.com",
            "mx.example.net; none",
            "mx.example.net",
        ] {
            let email = mail(&[("Authentication-Results", value)]);
            let found = authentication_results(&email, "mx.example.net");
            assert_ne!(auth(&email, found), SenderAuth::Verified, "{value}");
        }
    }

    #[test]
    fn mailguns_words_count_once_and_for_the_domain_that_they_are_about() {
        let spf = ("X-Mailgun-Spf", "Pass");
        let dkim = ("X-Mailgun-Dkim-Check-Result", "Pass");
        let (own, esp) = (("Dkim-Signature", "v=1; d = example.com; s=a"), ("Dkim-Signature", "v=1; d=esp.net; s=a"));
        let email = mail(&[spf]);
        assert_eq!(auth(&email, mailgun(&email)), SenderAuth::Verified);
        for (headers, expected) in [
            (&[dkim, own][..], SenderAuth::Verified),
            (&[dkim, own, esp], SenderAuth::Unknown),
            (&[dkim, esp], SenderAuth::Unknown),
            (&[dkim], SenderAuth::Unknown),
            (&[("X-Mailgun-Dkim-Check-Result", "Fail"), own], SenderAuth::Failed),
            (&[spf, spf], SenderAuth::Unknown),
            (&[("X-Mailgun-Spf", "Neutral")], SenderAuth::Unknown),
        ] {
            let mut email = mail(headers);
            if !headers.contains(&spf) {
                email.envelope_from = Some("bounce@esp.net".to_owned());
            }
            assert_eq!(auth(&email, mailgun(&email)), expected, "{headers:?}");
        }
        assert!(mailgun(&mail(&[])).is_none());
    }

    #[test]
    fn sendgrids_fields_name_the_domains() {
        let email = mail(&[]);
        for (spf, dkim, expected) in [
            ("pass", "none", SenderAuth::Verified),
            ("none", "{@example.com : pass}", SenderAuth::Verified),
            ("softfail", "{@esp.net : pass, @example.com : pass}", SenderAuth::Verified),
            ("fail", "{@esp.net : pass}", SenderAuth::Failed),
            ("none", "{@esp.net : pass}", SenderAuth::Unknown),
            ("none", "none", SenderAuth::Unknown),
        ] {
            assert_eq!(auth(&email, Some(sendgrid(&email, Some(spf), Some(dkim)))), expected, "{spf} {dkim}");
        }
    }

    #[test]
    fn the_dmarc_verdict_of_ses_goes_before_the_others() {
        let email = mail(&[("DKIM-Signature", "d=example.com"), ("DKIM-Signature", "d=amazonses.com")]);
        for (spf, dkim, dmarc, expected) in [
            ("PASS", "PASS", "PASS", SenderAuth::Verified),
            ("PASS", "PASS", "FAIL", SenderAuth::Failed),
            ("PASS", "PASS", "GRAY", SenderAuth::Verified),
            ("GRAY", "PASS", "GRAY", SenderAuth::Unknown),
            ("FAIL", "GRAY", "GRAY", SenderAuth::Failed),
            ("PROCESSING_FAILED", "GRAY", "PROCESSING_FAILED", SenderAuth::Unknown),
        ] {
            let claims = ses(&email, Some(spf), Some(dkim), Some(dmarc));
            assert_eq!(auth(&email, Some(claims)), expected, "{spf} {dkim} {dmarc}");
        }
    }
}
