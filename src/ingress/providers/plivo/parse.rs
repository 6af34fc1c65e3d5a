//! What Plivo posts (plivo.com/docs/messaging/api/messages, inbound messages and delivery reports).

use std::borrow::Cow;

use crate::{
    domain::{
        event::{Content, Media, Sms},
        report::NewReport,
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed, body,
        gate::Verified,
        providers::webhook,
        sms::{self, Arrived, MOST_MEDIA},
    },
};

pub(super) fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    let is_get = verified.request().method == "GET";
    if !is_get {
        reading.form()?;
    }
    let field = |name: &str| -> Option<Cow<'_, str>> {
        let found = if is_get { reading.query_value(name).map(body::text) } else { reading.form_text(name) };
        found.filter(|text| !text.is_empty())
    };
    let owned = |name: &str| field(name).unwrap_or_default().into_owned();
    if let Some(status) = field("Status").filter(|status| status != "received") {
        return sms::status(verified, &status, vec![report(&status, &owned)]);
    }
    if field("From").is_none() || field("MessageUUID").is_none() {
        return Ok(webhook::parsed(verified, "plivo".to_owned(), Content::Webhook(webhook::request(verified)?)));
    }
    let kind = if owned("Type").eq_ignore_ascii_case("whatsapp") { "whatsapp" } else { "sms" };
    let said = ["Text", "Body", "Caption", "ButtonText"].into_iter().find_map(&field);
    let message = Sms {
        message_id: owned("MessageUUID"),
        from: owned("From"),
        to: owned("To"),
        text: said.unwrap_or_default().into_owned(),
        media: media(&owned),
        opt_out: None,
        profile_name: field("ProfileName").map(Cow::into_owned),
    };
    let intent = field("MessageIntent").map(Cow::into_owned);
    Ok(sms::message(verified, Arrived { kind, sms: message, intent, part: None }))
}

/// Codes: plivo.com/docs/messaging/troubleshooting/error-codes; `000` is none. The parts of a long message
/// have ids of their own beside that of the message.
fn report(status: &str, field: &dyn Fn(&str) -> String) -> NewReport {
    let some = |name: &str| Some(field(name)).filter(|text| !text.is_empty());
    NewReport {
        about: some("ParentMessageUUID").unwrap_or_else(|| field("MessageUUID")),
        status: sms::progress(status),
        code: some("ErrorCode").filter(|code| code != "000"),
        detail: String::new(),
    }
}

fn media(field: &dyn Fn(&str) -> String) -> Vec<Media> {
    let one = |n: usize| {
        let url = [format!("Media{n}"), format!("MediaUrl{n}")].iter().map(|name| field(name)).find(|u| !u.is_empty());
        Media { url: url.unwrap_or_default(), content_type: field(&format!("MediaContentType{n}")), ..Media::default() }
    };
    (0..MOST_MEDIA).map(one).filter(|media| media.url.starts_with("http")).collect()
}
