//! What providers tell later of mail that we sent: delivered, bounced, complained about.
//!
//! A hard bounce or a complaint that the provider itself signed suppresses the recipient, where it is about a delivery
//! of ours. A mail that came back for any other reason says nothing of the address.

use serde_json::Value;

use crate::{
    domain::{
        report::{NewReport, ReportStatus, Returned},
        texting::Effects,
        thread,
    },
    ingress::{gate::Verified, providers::mail::text},
};

/// Reports of one request at most; batches are at most 1,000 events (SendGrid).
const MOST_REPORTS: usize = 1_000;

/// One thing that a provider tells of a mail.
#[derive(Default)]
struct Told<'v> {
    /// The mail's `Message-ID`, or the provider's own id of it.
    id: Option<&'v str>,
    status: Option<ReportStatus>,
    code: Option<String>,
    detail: Option<&'v str>,
    recipient: Option<&'v str>,
    /// Why the recipient gets no more.
    gone: Option<&'static str>,
}

const HARD: Option<&str> = Some("mail to it came back");
const UNWANTED: Option<&str> = Some("its reader called our mail unwanted");

/// Keeps what a request tells. What nobody signed suppresses nobody.
fn keep<'v>(told: impl IntoIterator<Item = Told<'v>>, verified: &Verified<'_>, effects: &mut Effects) {
    for Told { id, status, code, detail, recipient, gone } in told.into_iter().take(MOST_REPORTS) {
        let (Some(id), Some(status)) = (id.map(|id| id.trim_matches(['<', '>', ' '])), status) else { continue };
        // Our mails are named by the delivery: `<dlv_…@domain>`.
        let about = thread::delivery_in_id(id).map_or_else(|| id.to_owned(), |delivery| delivery.to_string());
        let detail = detail.unwrap_or_default().to_owned();
        if let Some(why) = gone.filter(|_| verified.is_proven()) {
            let reason = format!("{why}: {} {detail}", code.as_deref().unwrap_or_default());
            let address = recipient.map(str::to_owned);
            effects.returned.push(Returned { about: about.clone(), address, reason: reason.trim_end().to_owned() });
        }
        effects.reports.push(NewReport { about, status, code, detail });
    }
}

/// Mailgun's `event-data` (documentation.mailgun.com, webhooks).
pub(in crate::ingress) fn mailgun(event: &Value, verified: &Verified<'_>, effects: &mut Effects) {
    keep([mailgun_event(event)], verified, effects);
}

fn mailgun_event(event: &Value) -> Told<'_> {
    let at = |pointer: &str| text(event, &format!("/event-data{pointer}"));
    let (status, gone) = match (at("/event"), at("/severity"), at("/reason")) {
        (Some("accepted"), ..) => (ReportStatus::Sent, None),
        (Some("delivered"), ..) => (ReportStatus::Delivered, None),
        (Some("opened"), ..) => (ReportStatus::Read, None),
        (Some("failed"), Some("temporary"), _) => (ReportStatus::Waiting, None),
        // It tried for too long, or the other side refuses the sender: the address may be good.
        (Some("failed"), _, Some("old" | "espblock")) => (ReportStatus::Undelivered, None),
        (Some("failed"), ..) => (ReportStatus::Undelivered, HARD),
        (Some("rejected"), ..) => (ReportStatus::Failed, None),
        (Some("complained"), ..) => (ReportStatus::Complained, UNWANTED),
        _ => return Told::default(),
    };
    let code = event.pointer("/event-data/delivery-status/code").filter(|code| code.is_number());
    let code =
        at("/delivery-status/enhanced-code").map_or_else(|| code.map(ToString::to_string), |c| Some(c.to_owned()));
    let detail =
        at("/delivery-status/message").or_else(|| at("/delivery-status/description")).or_else(|| at("/reason"));
    let (id, recipient) = (at("/message/headers/message-id"), at("/recipient"));
    Told { id, status: Some(status), code, detail, recipient, gone }
}

/// SendGrid's batch of events (twilio.com/docs/sendgrid, event webhook reference).
pub(in crate::ingress) fn sendgrid(batch: &Value, verified: &Verified<'_>, effects: &mut Effects) {
    keep(batch.as_array().into_iter().flatten().map(sendgrid_event), verified, effects);
}

fn sendgrid_event(event: &Value) -> Told<'_> {
    let code = text(event, "/status");
    let (status, gone) = match (text(event, "/event"), text(event, "/type")) {
        (Some("processed"), _) => (ReportStatus::Sent, None),
        (Some("deferred"), _) => (ReportStatus::Waiting, None),
        (Some("delivered"), _) => (ReportStatus::Delivered, None),
        (Some("open"), _) => (ReportStatus::Read, None),
        // A block is about the sender, or passes.
        (Some("bounce"), Some("blocked")) => (ReportStatus::Undelivered, None),
        (Some("bounce"), _) => (ReportStatus::Undelivered, HARD.filter(|_| !code.is_some_and(is_temporary))),
        (Some("dropped"), _) => (ReportStatus::Failed, None),
        (Some("spamreport"), _) => (ReportStatus::Complained, UNWANTED),
        _ => return Told::default(),
    };
    Told {
        id: text(event, "/smtp-id").or_else(|| text(event, "/sg_message_id")),
        status: Some(status),
        code: code.map(str::to_owned),
        detail: text(event, "/reason").or_else(|| text(event, "/response")),
        recipient: text(event, "/email"),
        gone,
    }
}

/// Whether a code is of class 4 (RFC 3463, RFC 5321).
fn is_temporary(code: &str) -> bool {
    code.starts_with('4')
}

/// An event of Postmark (postmarkapp.com/developer/webhooks), which knows messages by its own ids alone.
pub(in crate::ingress) fn postmark(event: &Value, verified: &Verified<'_>, effects: &mut Effects) {
    keep([postmark_event(event)], verified, effects);
}

fn postmark_event(event: &Value) -> Told<'_> {
    let (status, gone) = match (text(event, "/RecordType"), text(event, "/Type")) {
        (Some("Delivery"), _) => (ReportStatus::Delivered, None),
        (Some("Open"), _) => (ReportStatus::Read, None),
        (Some("SpamComplaint"), _) => (ReportStatus::Complained, UNWANTED),
        (Some("Bounce"), Some("Transient" | "SoftBounce" | "DnsError")) => (ReportStatus::Waiting, None),
        (Some("Bounce"), Some("SpamComplaint" | "SpamNotification")) => (ReportStatus::Complained, UNWANTED),
        (Some("Bounce"), Some("HardBounce" | "BadEmailAddress")) => (ReportStatus::Undelivered, HARD),
        (Some("Bounce"), _) => (ReportStatus::Undelivered, None),
        _ => return Told::default(),
    };
    Told {
        id: text(event, "/MessageID"),
        status: Some(status),
        code: text(event, "/Type").map(str::to_owned),
        detail: text(event, "/Details").or_else(|| text(event, "/Description")),
        recipient: text(event, "/Email").or_else(|| text(event, "/Recipient")),
        gone,
    }
}

/// A notification of SES (docs.aws.amazon.com/ses, notification contents). The mail's own id stands in its headers
/// when the topic includes them.
pub(in crate::ingress) fn ses(message: &Value, verified: &Verified<'_>, effects: &mut Effects) {
    keep(ses_event(message), verified, effects);
}

fn ses_event(message: &Value) -> Vec<Told<'_>> {
    let told = text(message, "/notificationType").or_else(|| text(message, "/eventType"));
    let (status, gone) = match (told, text(message, "/bounce/bounceType")) {
        (Some("Send"), _) => (ReportStatus::Sent, None),
        (Some("Delivery"), _) => (ReportStatus::Delivered, None),
        (Some("Open"), _) => (ReportStatus::Read, None),
        (Some("DeliveryDelay"), _) | (Some("Bounce"), Some("Transient")) => (ReportStatus::Waiting, None),
        (Some("Bounce"), Some("Permanent")) => (ReportStatus::Undelivered, HARD),
        (Some("Bounce"), _) => (ReportStatus::Undelivered, None),
        (Some("Reject"), _) => (ReportStatus::Failed, None),
        (Some("Complaint"), _) => (ReportStatus::Complained, UNWANTED),
        _ => return Vec::new(),
    };
    let headers = message.pointer("/mail/headers").and_then(Value::as_array);
    let own = headers.into_iter().flatten().find_map(|header| {
        let is_id = text(header, "/name").is_some_and(|name| name.eq_ignore_ascii_case("message-id"));
        text(header, "/value").filter(|_| is_id)
    });
    let diagnosis = text(message, "/bounce/bouncedRecipients/0/diagnosticCode");
    let told = |id| Told {
        id: Some(id),
        status: Some(status),
        code: text(message, "/bounce/bouncedRecipients/0/status").map(str::to_owned),
        detail: diagnosis.or_else(|| text(message, "/delivery/recipients/0")),
        // SES names all recipients of a mail that one domain complained about; ours have one each.
        recipient: text(message, "/bounce/bouncedRecipients/0/emailAddress")
            .or_else(|| text(message, "/complaint/complainedRecipients/0/emailAddress")),
        gone,
    };
    [own, text(message, "/mail/messageId")].into_iter().flatten().map(told).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Told, mailgun_event, postmark_event, sendgrid_event, ses_event};
    use crate::domain::report::ReportStatus;

    /// The id, the status, the code, and who gets no more.
    fn of<'v>(told: &'v Told<'v>) -> (&'v str, Option<ReportStatus>, Option<&'v str>, Option<&'v str>) {
        (told.id.unwrap_or(""), told.status, told.code.as_deref(), told.recipient.filter(|_| told.gone.is_some()))
    }

    #[test]
    fn hard_bounces_and_complaints_name_who_gets_no_more() {
        let event = json!({"event-data": {"event": "failed", "severity": "permanent", "delivery-status": {"code": 550},
            "recipient": "a@x.example", "message": {"headers": {"message-id": "dlv_1@agents.example"}}}});
        let wanted = ("dlv_1@agents.example", Some(ReportStatus::Undelivered), Some("550"), Some("a@x.example"));
        assert_eq!(of(&mailgun_event(&event)), wanted);
        let event =
            json!({"event": "bounce", "type": "bounce", "sg_message_id": "x", "status": "5.1.1", "email": "a@x"});
        let wanted = ("x", Some(ReportStatus::Undelivered), Some("5.1.1"), Some("a@x"));
        assert_eq!(of(&sendgrid_event(&event)), wanted);
        let event = json!({"RecordType": "Bounce", "Type": "HardBounce", "MessageID": "m", "Email": "a@x"});
        let wanted = ("m", Some(ReportStatus::Undelivered), Some("HardBounce"), Some("a@x"));
        assert_eq!(of(&postmark_event(&event)), wanted);
        let message = json!({"notificationType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": "a@x"}]},
            "mail": {"messageId": "s", "headers": [{"name": "Message-ID", "value": "<dlv_3@a.example>"}]}});
        let told = ses_event(&message);
        let wanted = ["<dlv_3@a.example>", "s"].map(|id| (id, Some(ReportStatus::Complained), None, Some("a@x")));
        assert_eq!(told.iter().map(of).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_passes_or_is_about_the_sender_says_nothing_of_the_address() {
        let mailgun =
            |reason: &str| json!({"event-data": {"event": "failed", "severity": "permanent", "reason": reason}});
        let events = [
            mailgun_event(&mailgun("old")).gone,
            mailgun_event(&json!({"event-data": {"event": "failed", "severity": "temporary"}})).gone,
            sendgrid_event(&json!({"event": "bounce", "type": "blocked", "status": "5.7.1"})).gone,
            sendgrid_event(&json!({"event": "bounce", "status": "4.2.2"})).gone,
            sendgrid_event(&json!({"event": "deferred"})).gone,
            postmark_event(&json!({"RecordType": "Bounce", "Type": "Blocked"})).gone,
        ];
        assert_eq!(events, [None; 6]);
        let soft = json!({"eventType": "Bounce", "bounce": {"bounceType": "Undetermined"}, "mail": {"messageId": "s"}});
        assert!(ses_event(&soft).iter().all(|told| told.gone.is_none()));
        assert!([mailgun_event, sendgrid_event, postmark_event].iter().all(|read| read(&json!(7)).status.is_none()));
        assert!(ses_event(&json!({"event": []})).is_empty());
    }
}
