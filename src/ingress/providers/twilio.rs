//! Twilio: SMS, MMS, WhatsApp and status callbacks (twilio.com/docs/usage/webhooks/webhooks-security).
//!
//! Every received field is signed, so fields that Twilio adds later need nothing here.

use std::borrow::Cow;

use crate::{
    domain::{
        event::{Content, Media, Sms},
        report::NewReport,
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        answer::{Replies, ReplyForm},
        body,
        gate::Verified,
        media::MediaHosts,
        providers::{Provider, webhook},
        signature::scheme::{Absent, BodyHash, Condition, Encoding, Hash, HashFrom, Scheme, UrlForm},
        sms::{self, Arrived, MOST_MEDIA},
    },
};

const URL: Scheme<'static> = Scheme {
    // SharedKeys (public beta) name the hash in a header of their own; the Auth Token always means SHA-1.
    hash: Hash::Sha1,
    hash_from: Some(HashFrom {
        source: "header:X-Twilio-Webhooks-Signature-Settings",
        setting: Some("algorithm"),
        names: &[("HMAC_SHA1", Hash::Sha1), ("HMAC_SHA256", Hash::Sha256)],
        absent: Absent::Default,
    }),
    signature: &["header:X-Twilio-Signature"],
    encoding: Encoding::Base64,
    signed: "{url}",
    url_forms: &[UrlForm::Exact, UrlForm::WithoutPort, UrlForm::WithPort],
    ..Scheme::HMAC
};

/// See the module.
pub static TWILIO: Provider = Provider {
    name: "twilio",
    secret: "primary auth token, or the SharedKey's secret",
    schemes: &[
        Scheme {
            id: "json",
            when: &[Condition::Has("query:bodySHA256")],
            body_hash: Some(BodyHash {
                source: "query:bodySHA256",
                hash: Hash::Sha256,
                encoding: Encoding::HexAnyCase,
            }),
            ids: &["{header:I-Twilio-Idempotency-Token}"],
            ..URL
        },
        Scheme {
            id: "get",
            when: &[Condition::Equals("method", "GET")],
            ids: &["{query:MessageSid}:{query:MessageStatus}", "{query:MessageSid}"],
            events: &["query:MessageStatus", "query:SmsStatus"],
            ..URL
        },
        // Any other body would not be covered by the signature.
        Scheme {
            id: "form",
            when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
            signed: "{url}{form_sorted}",
            ids: &["{form:MessageSid}:{form:MessageStatus}", "{form:MessageSid}"],
            events: &["form:MessageStatus", "form:SmsStatus"],
            ..URL
        },
    ],
    replies: Replies { form: ReplyForm::EmptyTwiml, ..Replies::accepting(200).refusing(403) },
    media: MediaHosts {
        hosts: &["api.twilio.com", "api.*.twilio.com", "media.twiliocdn.com", "mms.twiliocdn.com"],
        logins: &["api.twilio.com", "api.*.twilio.com"],
    },
    parse,
    ..Provider::WEBHOOK
};

fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    let is_get = verified.request().method == "GET";
    if !is_get {
        reading.form()?;
    }
    let field = |name: &str| -> Option<Cow<'_, str>> {
        if is_get { reading.query_value(name).map(body::text) } else { reading.form_text(name) }
    };
    let owned = |name: &str| field(name).unwrap_or_default().into_owned();
    if let Some(status) = field("MessageStatus").filter(|status| status != "received") {
        return sms::status(verified, &status, vec![report(&status, &owned)]);
    }
    if field("From").is_none() || field("Body").is_none() {
        return Ok(webhook::parsed(verified, "twilio".to_owned(), Content::Webhook(webhook::request(verified)?)));
    }
    let message = Sms {
        message_id: owned("MessageSid"),
        from: owned("From"),
        to: owned("To"),
        text: owned("Body"),
        media: media(&owned),
        opt_out: None,
        profile_name: field("ProfileName").map(Cow::into_owned),
    };
    let kind = channel(&message.from);
    let intent = field("OptOutType").map(Cow::into_owned);
    Ok(sms::message(verified, Arrived { kind, sms: message, intent, part: None }))
}

/// The channel stands in front of addresses that are no numbers (twilio.com/docs/messaging/channels).
fn channel(from: &str) -> &'static str {
    match from.split_once(':').map(|(channel, _)| channel) {
        Some("whatsapp") => "whatsapp",
        Some("messenger") => "messenger",
        Some("rcs") => "rcs",
        Some(_) | None => "sms",
    }
}

/// Codes: twilio.com/docs/api/errors. Some callbacks of channels bring words as well.
fn report(status: &str, field: &dyn Fn(&str) -> String) -> NewReport {
    let some = |name: &str| Some(field(name)).filter(|text| !text.is_empty());
    NewReport {
        about: some("MessageSid").unwrap_or_else(|| field("SmsSid")),
        status: sms::progress(status),
        code: some("ErrorCode").filter(|code| code != "0"),
        detail: some("ErrorMessage").or_else(|| some("ChannelStatusMessage")).unwrap_or_default(),
    }
}

fn media(field: &dyn Fn(&str) -> String) -> Vec<Media> {
    let count = field("NumMedia").parse::<usize>().unwrap_or(0).min(MOST_MEDIA);
    let one = |n| Media {
        url: field(&format!("MediaUrl{n}")),
        content_type: field(&format!("MediaContentType{n}")),
        ..Media::default()
    };
    (0..count).map(one).filter(|media| !media.url.is_empty()).collect()
}
