//! What providers tell later of mail that we sent: delivered, bounced, complained about.

use serde_json::Value;

use crate::{
    domain::report::{NewReport, ReportStatus},
    ingress::providers::mail::{text, texts},
};

/// Reports of one request at most; batches are at most 1,000 events (SendGrid).
const MOST_REPORTS: usize = 1_000;

/// Mailgun's `event-data` (documentation.mailgun.com, webhooks).
pub(in crate::ingress) fn mailgun(event: &Value) -> Vec<NewReport> {
    let at = |pointer: &str| text(event, &format!("/event-data{pointer}"));
    let status = match (at("/event"), at("/severity")) {
        (Some("accepted"), _) => ReportStatus::Sent,
        (Some("delivered"), _) => ReportStatus::Delivered,
        (Some("opened"), _) => ReportStatus::Read,
        (Some("failed"), Some("temporary")) => ReportStatus::Waiting,
        (Some("failed"), _) => ReportStatus::Undelivered,
        (Some("rejected"), _) => ReportStatus::Failed,
        (Some("complained"), _) => ReportStatus::Complained,
        (_, _) => return Vec::new(),
    };
    let code = event.pointer("/event-data/delivery-status/code").filter(|code| code.is_number());
    let code =
        at("/delivery-status/enhanced-code").map_or_else(|| code.map(ToString::to_string), |c| Some(c.to_owned()));
    let detail =
        at("/delivery-status/message").or_else(|| at("/delivery-status/description")).or_else(|| at("/reason"));
    report(at("/message/headers/message-id"), status, code, detail).into_iter().collect()
}

/// SendGrid's batch of events (twilio.com/docs/sendgrid, event webhook reference).
pub(in crate::ingress) fn sendgrid(batch: &Value) -> Vec<NewReport> {
    let of = |event: &Value| {
        let status = match text(event, "/event")? {
            "processed" => ReportStatus::Sent,
            "deferred" => ReportStatus::Waiting,
            "delivered" => ReportStatus::Delivered,
            "open" => ReportStatus::Read,
            "bounce" => ReportStatus::Undelivered,
            "dropped" => ReportStatus::Failed,
            "spamreport" => ReportStatus::Complained,
            _ => return None,
        };
        let id = text(event, "/smtp-id").or_else(|| text(event, "/sg_message_id"));
        let detail = text(event, "/reason").or_else(|| text(event, "/response"));
        report(id, status, text(event, "/status").map(str::to_owned), detail)
    };
    batch.as_array().into_iter().flatten().take(MOST_REPORTS).filter_map(of).collect()
}

/// An event of Postmark (postmarkapp.com/developer/webhooks), which knows messages by its own ids alone.
pub(in crate::ingress) fn postmark(event: &Value) -> Vec<NewReport> {
    let status = match (text(event, "/RecordType"), text(event, "/Type")) {
        (Some("Delivery"), _) => ReportStatus::Delivered,
        (Some("Open"), _) => ReportStatus::Read,
        (Some("SpamComplaint"), _) => ReportStatus::Complained,
        (Some("Bounce"), Some("Transient" | "SoftBounce" | "DnsError")) => ReportStatus::Waiting,
        (Some("Bounce"), _) => ReportStatus::Undelivered,
        (_, _) => return Vec::new(),
    };
    let detail = text(event, "/Details").or_else(|| text(event, "/Description"));
    let code = text(event, "/Type").map(str::to_owned);
    report(text(event, "/MessageID"), status, code, detail).into_iter().collect()
}

/// A notification of SES (docs.aws.amazon.com/ses, notification contents). The mail's own id stands in its headers
/// when the topic includes them.
pub(in crate::ingress) fn ses(message: &Value) -> Vec<NewReport> {
    let told = text(message, "/notificationType").or_else(|| text(message, "/eventType"));
    let status = match (told, text(message, "/bounce/bounceType")) {
        (Some("Send"), _) => ReportStatus::Sent,
        (Some("Delivery"), _) => ReportStatus::Delivered,
        (Some("Open"), _) => ReportStatus::Read,
        (Some("DeliveryDelay"), _) | (Some("Bounce"), Some("Transient")) => ReportStatus::Waiting,
        (Some("Bounce"), _) => ReportStatus::Undelivered,
        (Some("Reject"), _) => ReportStatus::Failed,
        (Some("Complaint"), _) => ReportStatus::Complained,
        (_, _) => return Vec::new(),
    };
    let headers = message.pointer("/mail/headers").and_then(Value::as_array);
    let own = headers.into_iter().flatten().find_map(|header| {
        let is_id = text(header, "/name").is_some_and(|name| name.eq_ignore_ascii_case("message-id"));
        text(header, "/value").filter(|_| is_id)
    });
    let code = text(message, "/bounce/bouncedRecipients/0/status").map(str::to_owned);
    let detail = text(message, "/bounce/bouncedRecipients/0/diagnosticCode").map(str::to_owned);
    let detail = detail.or_else(|| texts(message, "/delivery/recipients").into_iter().next());
    let ids = [own, text(message, "/mail/messageId")];
    ids.into_iter().flatten().filter_map(|id| report(Some(id), status, code.clone(), detail.as_deref())).collect()
}

/// Our mails are named by the delivery: `<dlv_…@domain>`.
fn report(id: Option<&str>, status: ReportStatus, code: Option<String>, detail: Option<&str>) -> Option<NewReport> {
    let id = id?.trim_matches(['<', '>', ' ']);
    let about = id.split_once('@').map(|(local, _)| local).filter(|local| local.starts_with("dlv_")).unwrap_or(id);
    Some(NewReport { about: about.to_owned(), status, code, detail: detail.unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{mailgun, postmark, sendgrid, ses};
    use crate::domain::report::{NewReport, ReportStatus};

    fn of(reports: &[NewReport]) -> Vec<(&str, ReportStatus, Option<&str>)> {
        reports.iter().map(|report| (report.about.as_str(), report.status, report.code.as_deref())).collect()
    }

    #[test]
    fn reports_are_about_our_deliveries() {
        let event = json!({"event-data": {"event": "failed", "severity": "permanent", "delivery-status": {"code": 550},
            "message": {"headers": {"message-id": "dlv_1@agents.example"}}}});
        assert_eq!(of(&mailgun(&event)), [("dlv_1", ReportStatus::Undelivered, Some("550"))]);
        let batch = json!([{"event": "deferred", "smtp-id": "<dlv_2@a.example>"}, {"event": "click"}, 7,
            {"event": "bounce", "sg_message_id": "x", "status": "5.1.1"}]);
        let wanted = [("dlv_2", ReportStatus::Waiting, None), ("x", ReportStatus::Undelivered, Some("5.1.1"))];
        assert_eq!(of(&sendgrid(&batch)), wanted);
        let event = json!({"RecordType": "Bounce", "Type": "HardBounce", "MessageID": "m"});
        assert_eq!(of(&postmark(&event)), [("m", ReportStatus::Undelivered, Some("HardBounce"))]);
        let message = json!({"notificationType": "Complaint", "mail": {"messageId": "s",
            "headers": [{"name": "Message-ID", "value": "<dlv_3@a.example>"}]}});
        let wanted = [("dlv_3", ReportStatus::Complained, None), ("s", ReportStatus::Complained, None)];
        assert_eq!(of(&ses(&message)), wanted);
        assert!([mailgun, sendgrid, postmark, ses].iter().all(|read| read(&json!({"event": []})).is_empty()));
    }
}
