//! What Telnyx posts (developers.telnyx.com/docs/messaging/messages/receiving-webhooks).

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

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let body = verified.reading().json()?;
    let payload = &body["data"]["payload"];
    match text(&body["data"]["event_type"]) {
        "message.received" if payload.is_object() => Ok(sms::message(verified, message(payload))),
        "message.sent" | "message.finalized" | "message.updated" if payload.is_object() => {
            let reports = reports(payload);
            let word = payload["to"][0]["status"].as_str().unwrap_or("sent");
            sms::status(verified, word, reports)
        }
        event @ ("message.sent" | "message.finalized" | "message.updated") => {
            let mut parsed = webhook::parse(verified, at)?;
            parsed.quiet = Some(format!("a status callback: {event}"));
            Ok(parsed)
        }
        _ => webhook::parse(verified, at),
    }
}

fn message(payload: &Value) -> Arrived {
    let kind = match text(&payload["type"]) {
        "RCS" => "rcs",
        "WHATSAPP" => "whatsapp",
        _ => "sms",
    };
    let media = payload["media"].as_array().into_iter().flatten().take(MOST_MEDIA);
    let media = media.map(|item| Media {
        url: text(&item["url"]).to_owned(),
        content_type: text(&item["content_type"]).to_owned(),
        ..Media::default()
    });
    let said = [&payload["text"], &payload["body"]["text"], &payload["body"]["text"]["body"]];
    Arrived {
        kind,
        sms: Sms {
            message_id: text(&payload["id"]).to_owned(),
            from: number(&payload["from"]).to_owned(),
            to: own_number(payload).to_owned(),
            text: said.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned(),
            media: media.filter(|item| !item.url.is_empty()).collect(),
            opt_out: None,
            profile_name: None,
        },
        intent: payload["autoresponse_type"].as_str().map(str::to_owned),
        part: None,
    }
}

/// Of several numbers of a group message ours is the one for which Telnyx called.
fn own_number(payload: &Value) -> &str {
    let Some(all) = payload["to"].as_array() else { return number(&payload["to"]) };
    let ours = all.iter().find(|to| text(&to["status"]) == "webhook_delivered").or_else(|| all.first());
    ours.map(number).unwrap_or_default()
}

fn reports(payload: &Value) -> Vec<NewReport> {
    let error = &payload["errors"][0];
    let detail = [&error["detail"], &error["title"]].into_iter().find_map(Value::as_str).unwrap_or_default();
    let code = [&error["code"]].into_iter().find_map(sms::word_of);
    let one = |to: &Value| NewReport {
        about: text(&payload["id"]).to_owned(),
        status: sms::progress(text(&to["status"])),
        code: code.clone(),
        detail: detail.to_owned(),
    };
    // One message has one report a request, whatever its group.
    payload["to"].as_array().and_then(|all| all.first()).map(one).into_iter().collect()
}

fn number(value: &Value) -> &str {
    value["phone_number"].as_str().or_else(|| value.as_str()).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
