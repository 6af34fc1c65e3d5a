//! Twilio: SMS, MMS, WhatsApp and status callbacks (twilio.com/docs/usage/webhooks/webhooks-security).
//!
//! Every received field is signed, so fields that Twilio adds later need nothing here.

use std::borrow::Cow;

use crate::{
    domain::{
        event::{Content, Media, Sender, SenderAuth, Sms},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        answer::{Replies, ReplyForm},
        body,
        gate::Verified,
        providers::{Provider, webhook},
        signature::scheme::{Algorithm, Condition, Encoding, Hash, Scheme, UrlForm},
    },
};

const URL: Scheme<'static> = Scheme {
    // SharedKeys (public beta) name the hash in a header of their own; the Auth Token always means SHA-1.
    algorithm: Algorithm::HmacNamed {
        source: "header:X-Twilio-Webhooks-Signature-Settings",
        setting: "algorithm",
        names: &[("HMAC_SHA1", Hash::Sha1), ("HMAC_SHA256", Hash::Sha256)],
        default: Hash::Sha1,
    },
    signature: &["header:X-Twilio-Signature"],
    encoding: Encoding::Base64,
    signed: "{url}",
    url_forms: &[UrlForm::Exact, UrlForm::WithoutPort, UrlForm::WithPort],
    ..Scheme::HMAC
};

/// See the module.
pub static TWILIO: Provider = Provider {
    name: "twilio",
    schemes: &[
        Scheme {
            when: &[Condition::Has("query:bodySHA256")],
            body_sha256: Some("query:bodySHA256"),
            ids: &["{header:I-Twilio-Idempotency-Token}"],
            ..URL
        },
        Scheme {
            when: &[Condition::Equals("method", "GET")],
            ids: &["{query:MessageSid}:{query:MessageStatus}", "{query:MessageSid}"],
            events: &["query:MessageStatus", "query:SmsStatus"],
            ..URL
        },
        // Any other body would not be covered by the signature.
        Scheme {
            when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
            signed: "{url}{form_sorted}",
            ids: &["{form:MessageSid}:{form:MessageStatus}", "{form:MessageSid}"],
            events: &["form:MessageStatus", "form:SmsStatus"],
            ..URL
        },
    ],
    signs_url: true,
    replies: Replies { accepted: 200, refused: 403, form: ReplyForm::EmptyTwiml, ..Replies::STANDARD },
    parse,
    ..Provider::WEBHOOK
};

/// The most media of one message (Twilio sends ten at most).
const MOST_MEDIA: usize = 10;

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
    let status = field("MessageStatus").filter(|status| status != "received");
    let is_message = status.is_none() && field("From").is_some() && field("Body").is_some();
    if !is_message {
        let kind = status.as_ref().map_or_else(|| "twilio".to_owned(), |status| format!("sms.{status}"));
        let mut parsed = webhook::parsed(verified, kind, Content::Webhook(webhook::request(verified)?));
        parsed.quiet = status.map(|status| format!("a status callback: {status}"));
        return Ok(parsed);
    }
    let text = owned("Body");
    let sms = Sms {
        message_id: owned("MessageSid"),
        from: owned("From"),
        to: owned("To"),
        media: media(&owned),
        opt_out: opt_out(field("OptOutType").as_deref(), &text).map(str::to_owned),
        profile_name: field("ProfileName").map(Cow::into_owned),
        text,
    };
    let kind = if sms.from.starts_with("whatsapp:") { "whatsapp" } else { "sms" };
    let mut parsed = webhook::parsed(verified, kind.to_owned(), Content::Sms(Sms::default()));
    parsed.thread_key = Some(format!("{}|{}", sms.from, sms.to));
    parsed.sender = Some(Sender {
        address: sms.from.clone(),
        name: sms.profile_name.clone(),
        auth: SenderAuth::Unknown,
        auth_reason: "Twilio signed the request, but the number a message comes from can be forged".to_owned(),
    });
    parsed.quiet = sms.opt_out.as_ref().map(|word| format!("the opt-out word {word}, which Twilio answers"));
    parsed.content = Content::Sms(sms);
    Ok(parsed)
}

fn media(field: &dyn Fn(&str) -> String) -> Vec<Media> {
    let count = field("NumMedia").parse::<usize>().unwrap_or(0).min(MOST_MEDIA);
    let one = |n| Media { url: field(&format!("MediaUrl{n}")), content_type: field(&format!("MediaContentType{n}")) };
    (0..count).map(one).filter(|media| !media.url.is_empty()).collect()
}

/// What the sender asks for about getting messages at all: Twilio's word for it, or the text's.
fn opt_out(said: Option<&str>, text: &str) -> Option<&'static str> {
    let of = |word: &str| match word.trim().to_ascii_uppercase().as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "END" | "QUIT" | "CANCEL" | "REVOKE" | "OPTOUT" => Some("STOP"),
        "START" | "UNSTOP" => Some("START"),
        "HELP" | "INFO" => Some("HELP"),
        _ => None,
    };
    said.and_then(of).or_else(|| of(text))
}

#[cfg(test)]
mod tests {
    use super::opt_out;

    #[test]
    fn opt_out_is_the_whole_text_or_twilios_word() {
        assert_eq!(opt_out(None, " stop\r\n"), Some("STOP"));
        assert_eq!(opt_out(None, "please stop"), None);
        assert_eq!(opt_out(Some("START"), "ja"), Some("START"));
        assert_eq!(opt_out(Some(""), "Info"), Some("HELP"));
    }
}
