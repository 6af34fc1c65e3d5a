//! Reports of mail systems on earlier mail: delivery (RFC 3464), disposition (RFC 8098), complaints (RFC 5965), and
//! the bounces of systems that know none of these.

use crate::{
    domain::{
        event::Email,
        mail::{MailReport, ReportKind, ReportedRecipient},
        template::clip,
    },
    ingress::mail::{RawFile, clean, decode, head},
};

/// Recipients of one report that are kept.
const RECIPIENTS: usize = 200;
/// Bytes of one part that are read.
const PART_BYTES: usize = 256 * 1024;
/// Bytes of a value that are kept.
const VALUE_BYTES: usize = 2000;
/// Lines of a bounce in prose that are looked at.
const LINES: usize = 2000;
/// Lines behind an address in which the reason is looked for.
const REASON_LINES: usize = 8;

/// What a mail reports, from the files it carries and, for bounces in prose, from its text. `None` for mail that is no
/// report. Nothing of it is proved: a report counts only for a mail that we sent.
pub fn report(email: &Email, files: &[RawFile]) -> Option<MailReport> {
    let part = |kinds: &[&str]| files.iter().find(|file| kinds.contains(&file.content_type.as_str()));
    let status = part(&["message/delivery-status", "message/global-delivery-status"]);
    let disposition = part(&["message/disposition-notification", "message/global-disposition-notification"]);
    let feedback = part(&["message/feedback-report"]);
    let mut report = match (status, disposition, feedback) {
        (Some(part), _, _) => delivery(&groups(part)),
        (None, Some(part), _) => disposed(&groups(part)),
        (None, None, Some(part)) => complained(&groups(part)),
        (None, None, None) => bounce(email)?,
    };
    let header = |name: &str| email.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    if report.recipients.is_empty()
        && let Some((_, failed)) = header("X-Failed-Recipients")
    {
        let failed = failed.split(',').map(address_of).filter(|address| address.contains('@'));
        report.recipients = failed
            .take(RECIPIENTS)
            .map(|address| ReportedRecipient { address, action: "failed".to_owned(), ..ReportedRecipient::default() })
            .collect();
    }
    returned(&mut report, email, files);
    Some(report)
}

/// Fields of one paragraph, names in lower case.
type Fields = Vec<(String, String)>;

/// The paragraphs of a part that consists of fields.
fn groups(part: &RawFile) -> Vec<Fields> {
    let bytes = part.bytes.get(..part.bytes.len().min(PART_BYTES)).unwrap_or_default();
    let text = decode::undeclared(bytes);
    let mut groups: Vec<Fields> = vec![Vec::new()];
    for line in text.lines().take(LINES * 5) {
        if line.trim().is_empty() {
            if groups.last().is_some_and(|group| !group.is_empty()) && groups.len() <= RECIPIENTS {
                groups.push(Vec::new());
            }
            continue;
        }
        let Some(group) = groups.last_mut() else { break };
        match (line.starts_with([' ', '\t']), group.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) if value.len() < VALUE_BYTES => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (false, _, Some((name, value))) => {
                group.push((name.trim().to_ascii_lowercase(), clip(value.trim(), VALUE_BYTES).to_owned()));
            }
            (_, _, _) => {}
        }
    }
    groups
}

fn field(group: &Fields, name: &str) -> Option<String> {
    let found = group.iter().find(|(found, _)| found == name)?;
    let value = clip(&clean::line(&head::unstructured(found.1.as_bytes())), VALUE_BYTES).to_owned();
    Some(value).filter(|value| !value.is_empty())
}

/// `rfc822; a@b` and `dns; mx.b` without their types.
fn untyped(value: &str) -> String {
    let bare = match value.split_once(';') {
        Some((kind, rest)) if !kind.trim().contains([' ', '@', '<']) => rest,
        Some(_) | None => value,
    };
    bare.trim().to_owned()
}

fn address_of(value: &str) -> String {
    head::bare_address(&untyped(value))
}

fn id_of(value: &str) -> String {
    value.trim().trim_matches(['<', '>']).trim().to_owned()
}

fn delivery(groups: &[Fields]) -> MailReport {
    let mut report = MailReport::default();
    for group in groups {
        report.reporter = report.reporter.or_else(|| field(group, "reporting-mta").map(|value| untyped(&value)));
        report.original_envelope_id = report.original_envelope_id.or_else(|| field(group, "original-envelope-id"));
        report.original_message_id =
            report.original_message_id.or_else(|| field(group, "x-original-message-id").map(|id| id_of(&id)));
        if let Some(recipient) = recipient(group).filter(|_| report.recipients.len() < RECIPIENTS) {
            report.recipients.push(recipient);
        }
    }
    report
}

fn recipient(group: &Fields) -> Option<ReportedRecipient> {
    let last = field(group, "final-recipient").map(|value| address_of(&value));
    let original = field(group, "original-recipient").map(|value| address_of(&value));
    let address = last.or_else(|| original.clone())?;
    let status = field(group, "status").and_then(|value| code_in(&value));
    let diagnostic = field(group, "diagnostic-code").map(|value| untyped(&value));
    let action = field(group, "action").unwrap_or_default();
    Some(ReportedRecipient {
        original: original.filter(|original| !original.eq_ignore_ascii_case(&address)),
        address,
        action: action.split([' ', '(', ';']).next().unwrap_or("").to_ascii_lowercase(),
        status: status.or_else(|| diagnostic.as_deref().and_then(code_in)),
        diagnostic,
    })
}

fn disposed(groups: &[Fields]) -> MailReport {
    let find = |name: &str| groups.iter().find_map(|group| field(group, name));
    let last = find("final-recipient").map(|value| address_of(&value));
    MailReport {
        kind: ReportKind::Disposition,
        reporter: find("reporting-ua"),
        recipients: last
            .map(|address| ReportedRecipient { address, ..ReportedRecipient::default() })
            .into_iter()
            .collect(),
        original_message_id: find("original-message-id").map(|id| id_of(&id)),
        disposition: find("disposition"),
        ..MailReport::default()
    }
}

fn complained(groups: &[Fields]) -> MailReport {
    let find = |name: &str| groups.iter().find_map(|group| field(group, name));
    let to = find("original-rcpt-to").or_else(|| find("removal-recipient")).map(|value| address_of(&value));
    MailReport {
        kind: ReportKind::Feedback,
        reporter: find("user-agent"),
        recipients: to
            .map(|address| ReportedRecipient { address, ..ReportedRecipient::default() })
            .into_iter()
            .collect(),
        original_envelope_id: find("original-envelope-id"),
        disposition: find("feedback-type"),
        ..MailReport::default()
    }
}

/// The mail that is reported on, by the copy of it or of its headers that came along.
fn returned(report: &mut MailReport, email: &Email, files: &[RawFile]) {
    let kinds =
        ["message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global", "message/global-headers"];
    let copy = files.iter().find(|file| kinds.contains(&file.content_type.as_str()));
    let headers = copy.map(|file| {
        let bytes = file.bytes.trim_ascii_start();
        decode::undeclared(bytes.get(..bytes.len().min(PART_BYTES)).unwrap_or_default())
    });
    let lines = headers.as_deref().unwrap_or(if report.kind == ReportKind::Delivery { &email.text } else { "" });
    for line in lines.lines().take(LINES) {
        if headers.is_some() && line.trim().is_empty() {
            break;
        }
        let line = line.trim_start_matches(['>', ' ', '|']);
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = clip(value.trim(), VALUE_BYTES);
        if name.eq_ignore_ascii_case("message-id") && value.contains('@') && report.original_message_id.is_none() {
            report.original_message_id = Some(id_of(&clean::line(value)));
        } else if name.eq_ignore_ascii_case("subject") && headers.is_some() && report.original_subject.is_none() {
            report.original_subject = Some(head::unstructured(value.as_bytes()));
        }
    }
}

/// A bounce in prose: addresses with the reason beside or below them.
fn bounce(email: &Email) -> Option<MailReport> {
    let [from] = email.from.as_slice() else { return None };
    let local = from.address.split('@').next().unwrap_or("").to_ascii_lowercase();
    let system =
        matches!(local.as_str(), "mailer-daemon" | "mailerdaemon" | "postmaster" | "mail-daemon" | "maildaemon");
    if !system || !email.text.contains('@') {
        return None;
    }
    let own: Vec<&str> = email.to.iter().map(|to| to.address.as_str()).collect();
    let mut found: Vec<(ReportedRecipient, usize)> = Vec::new();
    for (number, line) in email.text.lines().take(LINES).enumerate() {
        let begins_copy = ["received:", "return-path:", "message-id:"]
            .iter()
            .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        if begins_copy {
            break;
        }
        if let Some(address) = address_in(line).filter(|address| {
            !own.iter().any(|own| own.eq_ignore_ascii_case(address))
                && !address.eq_ignore_ascii_case(&from.address)
                && !found.iter().any(|(known, _)| known.address.eq_ignore_ascii_case(address))
        }) && found.len() < RECIPIENTS
        {
            found.push((ReportedRecipient { address, ..ReportedRecipient::default() }, number));
        }
        let Some((recipient, at)) = found.last_mut() else { continue };
        if recipient.status.is_none()
            && number - *at <= REASON_LINES
            && let Some(code) = code_in(line).filter(|code| !code.starts_with('2'))
        {
            recipient.action = if code.starts_with('5') { "failed" } else { "delayed" }.to_owned();
            recipient.status = Some(code);
            recipient.diagnostic = Some(clip(line.trim(), VALUE_BYTES).to_owned());
        }
    }
    let recipients: Vec<_> = found.into_iter().map(|(found, _)| found).filter(|found| found.status.is_some()).collect();
    Some(MailReport { recipients, ..MailReport::default() })
}

/// The first address of a line.
fn address_in(line: &str) -> Option<String> {
    let words = line
        .split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '"' | '\'' | ',' | ';' | '[' | ']'));
    let word = words.take(200).find(|word| {
        let word = word.trim_end_matches(['.', ':']);
        word.len() <= 254
            && word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
    })?;
    let word = word.trim_end_matches(['.', ':']);
    Some(head::bare_address(
        word.get(..7).filter(|s| s.eq_ignore_ascii_case("mailto:")).map_or(word, |_| word.get(7..).unwrap_or("")),
    ))
}

/// The enhanced status code in a text (RFC 3463), or one made of an SMTP reply code.
fn code_in(text: &str) -> Option<String> {
    let is_digits =
        |part: &str, most: usize| !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit());
    let words = || text.split(|c: char| !(c.is_ascii_digit() || c == '.')).map(|word| word.trim_matches('.')).take(300);
    let enhanced = words().find(|word| {
        let parts: Vec<&str> = word.splitn(4, '.').collect();
        matches!(parts.as_slice(), [class, subject, detail]
            if matches!(*class, "2" | "4" | "5") && is_digits(subject, 3) && is_digits(detail, 3))
    });
    if let Some(code) = enhanced {
        return Some(code.to_owned());
    }
    let reply = words().find(|word| matches!(word.as_bytes(), [b'4' | b'5', b'0'..=b'5', b'0'..=b'9']))?;
    Some(if reply.starts_with('4') { "4.0.0".to_owned() } else { "5.0.0".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::{
        domain::{
            event::{Email, Mailbox},
            mail::ReportKind,
        },
        ingress::mail::RawFile,
    };

    fn file(kind: &str, text: &str) -> RawFile {
        RawFile { content_type: kind.to_owned(), bytes: text.replace('\n', "\r\n").into_bytes(), ..RawFile::default() }
    }

    #[test]
    fn a_delivery_report_names_recipients_and_the_mail() {
        let status = file(
            "message/delivery-status",
            "Reporting-MTA: dns; mx.e.org\nOriginal-Envelope-Id: dlv_1\n\nFinal-Recipient: rfc822; Bob@E.org\nOriginal-Recipient: rfc822;b@e.org\nAction: Failed (hard)\nStatus: 5.1.1 (unknown)\nDiagnostic-Code: smtp; 550 5.1.1\n no such user\n\nFinal-Recipient: rfc822; c@e.org\nAction: delayed\nDiagnostic-Code: smtp; 451 later\n",
        );
        let copy = file("text/rfc822-headers", "Subject: =?utf-8?q?=C3=9Cber?=\nMessage-ID: <d1@ours>\n\n");
        let found = report(&Email::default(), &[status, copy]).unwrap();
        assert_eq!(
            (found.reporter.as_deref(), found.original_envelope_id.as_deref()),
            (Some("mx.e.org"), Some("dlv_1"))
        );
        assert_eq!(
            (found.original_message_id.as_deref(), found.original_subject.as_deref()),
            (Some("d1@ours"), Some("Über"))
        );
        let [bob, carl] = found.recipients.as_slice() else { panic!("{found:?}") };
        assert_eq!((bob.address.as_str(), bob.original.as_deref()), ("Bob@e.org", Some("b@e.org")));
        assert_eq!((bob.action.as_str(), bob.status.as_deref()), ("failed", Some("5.1.1")));
        assert_eq!(bob.diagnostic.as_deref(), Some("550 5.1.1 no such user"));
        assert!(bob.is_permanent() && !carl.is_permanent());
        assert_eq!((carl.action.as_str(), carl.status.as_deref()), ("delayed", Some("4.0.0")));
    }

    #[test]
    fn receipts_and_complaints_are_reports_of_their_own_kind() {
        let read = file(
            "message/disposition-notification",
            "Final-Recipient: rfc822;a@e.org\nOriginal-Message-ID: <x@y>\nDisposition: manual-action/MDN-sent-manually; displayed\n",
        );
        let found = report(&Email::default(), &[read]).unwrap();
        assert_eq!((found.kind, found.original_message_id.as_deref()), (ReportKind::Disposition, Some("x@y")));
        let abuse = file("message/feedback-report", "Feedback-Type: abuse\nOriginal-Rcpt-To: <a@e.org>\n");
        let found = report(&Email::default(), &[abuse]).unwrap();
        assert_eq!((found.kind, found.disposition.as_deref()), (ReportKind::Feedback, Some("abuse")));
        assert_eq!(found.recipients[0].address, "a@e.org");
    }

    #[test]
    fn a_bounce_in_prose_tells_who_and_why() {
        let mut email = Email {
            from: vec![Mailbox { address: "MAILER-DAEMON@mx.e.org".to_owned(), name: None }],
            text: "Hi. This is the qmail-send program.\n\n<bob@e.org>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 5.7.1 no\n\n--- Below is a copy.\n\nReturn-Path: <a@ours>\nMessage-ID: <d2@ours>\nTo: bob@e.org\n".to_owned(),
            ..Email::default()
        };
        let found = report(&email, &[]).unwrap();
        assert_eq!(found.original_message_id.as_deref(), Some("d2@ours"));
        assert_eq!(
            (found.recipients[0].address.as_str(), found.recipients[0].status.as_deref()),
            ("bob@e.org", Some("5.7.1"))
        );
        email.from[0].address = "bob@e.org".to_owned();
        assert_eq!(report(&email, &[]), None);
    }
}
