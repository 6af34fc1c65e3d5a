//! What the SMS API posts: messages, parts of long ones, delivery receipts
//! (developer.vonage.com/messaging/sms/guides/inbound-sms and delivery-receipts).

use crate::{
    domain::{
        event::{Content, Sms},
        report::NewReport,
        texting::{MOST_PARTS, MessagePart},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed, body,
        gate::Verified,
        providers::webhook,
        sms::{self, Arrived},
    },
};

pub(super) fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    if reading.is_form() {
        reading.form()?;
    }
    // Accounts are set to forms, JSON or a GET.
    let field = |name: &str| -> Option<String> {
        let found = match (reading.is_form(), reading.is_json()) {
            (true, _) => reading.form_text(name).map(std::borrow::Cow::into_owned),
            (false, true) => sms::word_of(&reading.json().ok()?[name]),
            (false, false) => reading.query_value(name).map(|value| body::text(value).into_owned()),
        };
        found.filter(|text| !text.is_empty())
    };
    let owned = |name: &str| field(name).unwrap_or_default();
    if let Some(status) = field("status") {
        let report = NewReport {
            about: owned("messageId"),
            status: sms::progress(&status),
            code: field("err-code").filter(|code| code != "0"),
            detail: String::new(),
        };
        return sms::status(verified, &status, vec![report]);
    }
    if field("text").is_none() {
        let kind = if field("data").is_some() { "sms.binary" } else { "vonage" };
        return Ok(webhook::parsed(verified, kind.to_owned(), Content::Webhook(webhook::request(verified)?)));
    }
    let message = Sms {
        message_id: owned("messageId"),
        from: owned("msisdn"),
        to: owned("to"),
        text: owned("text"),
        ..Sms::default()
    };
    Ok(sms::message(verified, Arrived { kind: "sms", sms: message, intent: None, part: part(&field) }))
}

/// A message of one part, or with numbers that mean nothing, is taken as it is.
fn part(field: &dyn Fn(&str) -> Option<String>) -> Option<MessagePart> {
    if !field("concat").is_some_and(|word| word.eq_ignore_ascii_case("true") || word == "1") {
        return None;
    }
    let number = field("concat-part")?.trim().parse().ok()?;
    let total = field("concat-total")?.trim().parse().ok()?;
    let reference = field("concat-ref")?;
    let fits = (2..=MOST_PARTS).contains(&total) && (1..=total).contains(&number) && reference.len() <= 64;
    fits.then_some(MessagePart { reference, number, total })
}
