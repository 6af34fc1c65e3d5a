//! What the Messages API posts (developer.vonage.com/api/messages-olympus, inbound and status webhooks).

use serde_json::Value;

use crate::{
    domain::{
        event::{Media, Sms},
        report::NewReport,
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        providers::webhook,
        sms::{self, Arrived, MOST_MEDIA},
    },
};

/// The kinds of messages that are files, named as the field that holds them.
const FILES: [&str; 6] = ["image", "audio", "video", "vcard", "file", "sticker"];

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let body = verified.reading().json()?;
    if let (Some(status), true) = (body["status"].as_str(), body["message_uuid"].is_string()) {
        return sms::status(verified, status, vec![report(body, status)]);
    }
    let is_message = body["message_uuid"].is_string() && !number(&body["from"]).is_empty();
    if !is_message {
        return webhook::parse(verified, at);
    }
    Ok(sms::message(verified, message(body)))
}

fn message(body: &Value) -> Arrived {
    let kind = match body["channel"].as_str().unwrap_or_default() {
        "whatsapp" => "whatsapp",
        "messenger" => "messenger",
        "viber_service" => "viber",
        "rcs" => "rcs",
        _ => "sms",
    };
    Arrived {
        kind,
        sms: Sms {
            message_id: text(&body["message_uuid"]),
            from: number(&body["from"]),
            to: number(&body["to"]),
            text: said(body),
            media: media(body),
            opt_out: None,
            profile_name: body["profile"]["name"].as_str().map(str::to_owned),
        },
        intent: None,
        part: None,
    }
}

/// The text, the caption of a file, or what was chosen.
fn said(body: &Value) -> String {
    let mut places = vec!["/text", "/reply/title", "/reply/id", "/button/text", "/reaction/emoji"];
    let captions = FILES.map(|kind| format!("/{kind}/caption"));
    places.extend(captions.iter().map(String::as_str));
    places.extend(["/content/text", "/content/0/caption", "/content/0/text"]);
    if let Some(text) = places.into_iter().find_map(|place| body.pointer(place)?.as_str()) {
        return text.to_owned();
    }
    let place = &body["location"];
    let line = ["lat", "long", "name", "address"].into_iter().filter_map(|key| sms::word_of(&place[key]));
    line.collect::<Vec<_>>().join(", ")
}

fn media(body: &Value) -> Vec<Media> {
    let one = |item: &Value| Media { url: text(&item["url"]), ..Media::default() };
    let named = FILES.iter().map(|kind| &body[*kind]);
    let listed = body["content"].as_array().into_iter().flatten();
    named.chain(listed).map(one).filter(|media| !media.url.is_empty()).take(MOST_MEDIA).collect()
}

/// Codes: developer.vonage.com/en/api-errors/messages.
fn report(body: &Value, status: &str) -> NewReport {
    let error = &body["error"];
    let known = [&error["title"], &error["code"]].into_iter().find_map(sms::word_of);
    let detail = [&error["detail"], &error["reason"]].into_iter().find_map(Value::as_str);
    NewReport {
        about: text(&body["message_uuid"]),
        status: sms::progress(status),
        code: known,
        detail: detail.unwrap_or_default().to_owned(),
    }
}

/// A number as text; older versions of the API have an object with the number in it.
fn number(value: &Value) -> String {
    let inner = [value, &value["number"], &value["id"]].into_iter().find_map(sms::word_of);
    inner.unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
