//! Reports of mail systems about mail of ours: which delivery came back, and why (RFC 3464, 8098, 5965, and what
//! servers write freely).
//!
//! Our mail's `Message-ID` is made of its delivery's id. It stands in the headers of our mail that a report encloses, in
//! its text, or in what it answers.

use crate::{
    domain::{
        event::Email,
        id::DeliveryId,
        mail::{MailReport, ReportKind},
        report::{NewReport, ReportStatus, Returned},
    },
    ingress::mail::{RawFile, ReadMail},
};

/// Bytes of a part, and of the text, that are looked through.
const SEEN_BYTES: usize = 64 * 1024;
/// Parts that are looked through.
const PARTS: usize = 10;
/// Characters of the words that are kept of a report.
const DETAIL: usize = 300;

/// What a mail says about deliveries of ours, and which of them came back for good. Nothing for mail of people, and for
/// automatic mail that is no report.
pub(super) fn of(mail: &ReadMail) -> Option<(NewReport, Option<Returned>)> {
    mail.automatic.as_ref()?;
    let report = Report::read(mail);
    let status = report.status()?;
    let delivery = our_delivery(mail)?;
    let code = report.code.clone();
    let detail = report.detail();
    // Whoever was given one of our mails can write that somebody complained; only the provider's own event counts.
    let returned = (status == ReportStatus::Undelivered).then(|| Returned {
        about: delivery.to_string(),
        address: report.recipient.clone(),
        reason: format!("mail to it came back: {} {detail}", code.as_deref().unwrap_or("")).trim_end().to_owned(),
    });
    Some((NewReport { about: delivery.to_string(), status, code, detail }, returned))
}

/// The first delivery of ours that a report names: in the mail it encloses, in its text, in what it answers.
fn our_delivery(mail: &ReadMail) -> Option<DeliveryId> {
    let mut enclosed = mail.attachments.iter().filter(|file| is_mail_part(file)).take(PARTS);
    let enclosed = enclosed.find_map(|file| delivery_in(&String::from_utf8_lossy(start(&file.bytes))));
    let answered =
        |email: &Email| email.in_reply_to.iter().chain(email.references.iter().rev()).find_map(|id| delivery_in(id));
    let reported = mail.email.report.as_ref().and_then(|report| delivery_in(report.original_message_id.as_deref()?));
    reported
        .or(enclosed)
        .or_else(|| delivery_in(&String::from_utf8_lossy(start(mail.email.text.as_bytes()))))
        .or_else(|| answered(&mail.email))
}

fn is_mail_part(file: &RawFile) -> bool {
    file.content_type.starts_with("message/") || file.content_type == "text/rfc822-headers"
}

fn start(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(SEEN_BYTES)]
}

/// The first `dlv_…@` in a text.
fn delivery_in(text: &str) -> Option<DeliveryId> {
    text.match_indices("dlv_").find_map(|(at, _)| text.get(at..)?.split('@').next()?.parse().ok())
}

/// What a report says of the first recipient that it speaks of.
#[derive(Default)]
struct Report {
    recipient: Option<String>,
    action: String,
    /// The enhanced code of RFC 3463, or the reply code of RFC 5321.
    code: Option<String>,
    diagnostic: String,
    read: bool,
    complained: bool,
    /// The text is that of a mail system.
    is_system: bool,
}

impl Report {
    fn read(mail: &ReadMail) -> Self {
        let mut report = Self::default();
        let mut is_report = mail.email.report.as_ref().is_some_and(|found| report.take(found));
        for file in mail.attachments.iter().take(PARTS) {
            match file.content_type.as_str() {
                "message/delivery-status" | "message/global-delivery-status" => {
                    is_report = true;
                    report.fields(&String::from_utf8_lossy(start(&file.bytes)));
                }
                "message/disposition-notification" | "message/global-disposition-notification" => report.read = true,
                "message/feedback-report" => report.complained = true,
                _ => {}
            }
        }
        let why = mail.automatic.as_deref().unwrap_or_default();
        let email = &mail.email;
        report.is_system = is_report
            || why.contains("report")
            || why.contains("mail system")
            || email.envelope_from.as_deref() == Some("");
        if !is_report && report.is_system {
            let text = String::from_utf8_lossy(start(email.text.as_bytes())).into_owned();
            report.fields(&text);
            if report.code.is_none() {
                report.freely(&text);
            }
        }
        report
    }

    /// What the report itself says, already read. `true` when it is one of a mail system.
    fn take(&mut self, found: &MailReport) -> bool {
        self.read = found.kind == ReportKind::Disposition;
        self.complained = found.kind == ReportKind::Feedback;
        if let Some(first) = found.recipients.first() {
            let address = first.original.as_ref().unwrap_or(&first.address);
            self.recipient = Some(address.clone()).filter(|address| address.contains('@'));
            self.action = first.action.to_ascii_lowercase();
            self.code = first.status.as_deref().and_then(enhanced_code);
            self.diagnostic = first.diagnostic.clone().unwrap_or_default();
        }
        found.kind == ReportKind::Delivery && !found.recipients.is_empty()
    }

    /// Reads `Field: value` lines; of several recipients the first.
    fn fields(&mut self, text: &str) {
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "final-recipient" | "original-recipient" if self.recipient.is_none() => {
                    let address = value.rsplit(';').next().unwrap_or_default().trim().trim_matches(['<', '>']);
                    self.recipient = Some(address.to_owned()).filter(|address| address.contains('@'));
                }
                "action" if self.action.is_empty() => {
                    self.action = value.split([' ', '(']).next().unwrap_or_default().to_ascii_lowercase();
                }
                "status" if self.code.is_none() => self.code = enhanced_code(value),
                "diagnostic-code" if self.diagnostic.is_empty() => self.diagnostic = value.to_owned(),
                _ => {}
            }
        }
    }

    /// Looks for the first code of a mail server, and keeps its line.
    fn freely(&mut self, text: &str) {
        for line in text.lines() {
            let found = enhanced_code(line).or_else(|| reply_code(line));
            if let Some(code) = found {
                self.code = Some(code);
                self.diagnostic = line.trim().to_owned();
                return;
            }
        }
    }

    /// `None` when it is no report.
    fn status(&self) -> Option<ReportStatus> {
        if self.complained {
            return Some(ReportStatus::Complained);
        }
        if self.read {
            return Some(ReportStatus::Read);
        }
        let class = self.code.as_deref().and_then(|code| code.chars().next());
        match (self.action.as_str(), class) {
            ("delivered" | "relayed" | "expanded", _) | ("", Some('2')) => Some(ReportStatus::Delivered),
            ("delayed", _) | (_, Some('4')) => Some(ReportStatus::Waiting),
            ("failed", _) => Some(ReportStatus::Undelivered),
            (_, Some('5')) if self.is_system => Some(ReportStatus::Undelivered),
            _ => None,
        }
    }

    fn detail(&self) -> String {
        let words = self.diagnostic.split_whitespace().collect::<Vec<_>>().join(" ");
        words.chars().filter(|c| !c.is_control()).take(DETAIL).collect()
    }
}

/// The first `d.d.d` of classes 2, 4 and 5 (RFC 3463) that stands alone in a line.
fn enhanced_code(line: &str) -> Option<String> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
        let word = word.trim_matches('.');
        let parts: Vec<&str> = word.split('.').collect();
        let [class, subject, detail] = parts.as_slice() else { return None };
        let fits =
            matches!(*class, "2" | "4" | "5") && [subject, detail].iter().all(|part| (1..=3).contains(&part.len()));
        fits.then(|| word.to_owned())
    })
}

/// A reply code of classes 4 and 5 (RFC 5321 section 4.2) at the start of a line or behind a mark.
fn reply_code(line: &str) -> Option<String> {
    let line = line.trim_start().trim_start_matches(['<', '>', '#', ' ']);
    let code = line.get(..3)?;
    let ends = line.as_bytes().get(3).is_none_or(|byte| matches!(byte, b' ' | b'-'));
    (ends && code.starts_with(['4', '5']) && code.bytes().all(|byte| byte.is_ascii_digit())).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{enhanced_code, reply_code};

    #[test]
    fn codes_are_told_from_addresses_and_versions() {
        assert_eq!(enhanced_code("550 5.1.1 <a@b>: no such user").as_deref(), Some("5.1.1"));
        assert_eq!(enhanced_code("Status: 4.4.7 (timed out)").as_deref(), Some("4.4.7"));
        for none in ["host 192.0.2.5 said", "version 5.12", "1.2.3", "on 14.1.2025"] {
            assert_eq!(enhanced_code(none), None, "{none}");
        }
        assert_eq!(reply_code("<<< 550 user unknown").as_deref(), Some("550"));
        assert_eq!(reply_code("5500 chairs"), None);
    }
}
