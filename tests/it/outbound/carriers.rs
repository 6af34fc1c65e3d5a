//! Text messages by Telnyx, Vonage and Plivo.

use postern::{
    config::settings::SmsChannel,
    domain::delivery::{Attempt, Message, SmsMessage},
    outbound::Channels,
};
use serde_json::{Value, json};

use super::{
    channels, env, kind, outgoing,
    receiver::{Receiver, hangs_up},
};

const STATUS: &str = "https://postern.example/in/sms";

fn telnyx(url: &str) -> Channels {
    let channel = SmsChannel::Telnyx {
        api_key: env("TOKEN"),
        messaging_profile_id: Some("profile".to_owned()),
        status_url: Some(STATUS.to_owned()),
        base_url: Some(url.to_owned()),
    };
    channels(None, Some(channel), "tok")
}

fn vonage(url: &str) -> Channels {
    let channel = SmsChannel::Vonage {
        api_key: "abcd".to_owned(),
        api_secret: env("TOKEN"),
        status_url: Some(STATUS.to_owned()),
        base_url: Some(url.to_owned()),
    };
    channels(None, Some(channel), "tok")
}

fn plivo(url: &str) -> Channels {
    let channel = SmsChannel::Plivo {
        auth_id: "MA1".to_owned(),
        auth_token: env("TOKEN"),
        status_url: Some(STATUS.to_owned()),
        base_url: Some(url.to_owned()),
    };
    channels(None, Some(channel), "tok")
}

fn sms(from: &str, to: &str, text: &str) -> Message {
    Message::Sms(SmsMessage { from: from.to_owned(), to: to.to_owned(), text: text.to_owned() })
}

fn id_of(attempt: &Attempt) -> &str {
    match attempt {
        Attempt::Delivered { provider_id: Some(id), .. } => id,
        Attempt::Delivered { provider_id: None, .. } | Attempt::Later { .. } | Attempt::Refused { .. } => {
            panic!("not taken: {attempt:?}")
        }
    }
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn telnyx_gets_its_form_and_the_same_key_each_time() {
    let receiver = Receiver::start().await;
    let channels = telnyx(&receiver.url);
    for attempt in [1, 2] {
        receiver.reply(200, &[], r#"{"data":{"id":"m-1","to":[{"status":"queued"}]}}"#);
        let sent = channels.sms.send(&outgoing(sms("15550009999", "+15550001111", "**done**"), attempt)).await;
        assert_eq!(id_of(&sent), "m-1");
    }
    let seen = receiver.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].uri.as_str()), ("POST", "/v2/messages"));
    assert_eq!(seen[0].header("authorization"), "Bearer tok");
    assert!(seen[0].header("idempotency-key").starts_with("dlv_"));
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    assert_eq!(seen[0].body, seen[1].body, "Telnyx compares bodies byte by byte");
    let expected = json!({ "from": "+15550009999", "to": "+15550001111", "text": "done",
                           "messaging_profile_id": "profile", "webhook_url": STATUS });
    assert_eq!(json_of(&seen[0].body), expected);
    let whatsapp = channels.sms.send(&outgoing(sms("whatsapp:+1", "whatsapp:+2", "x"), 1)).await;
    assert_eq!(kind(&whatsapp), "refused");
}

#[tokio::test]
async fn vonage_gets_digits_and_the_deliverys_id() {
    let receiver = Receiver::start().await;
    let channels = vonage(&receiver.url);
    receiver.reply(202, &[], r#"{"message_uuid":"u-1"}"#);
    receiver.reply(202, &[], r#"{"message_uuid":"u-2"}"#);
    assert_eq!(id_of(&channels.sms.send(&outgoing(sms("447700900000", "+447700900001", "hi"), 1)).await), "u-1");
    let far = sms("whatsapp:447700900000", "whatsapp:447700900001", &"x".repeat(3_000));
    assert_eq!(id_of(&channels.sms.send(&outgoing(far, 1)).await), "u-2");
    let seen = receiver.seen();
    assert_eq!(seen[0].uri, "/v1/messages");
    assert_eq!(seen[0].header("authorization"), "Basic YWJjZDp0b2s=");
    let mut first = json_of(&seen[0].body);
    assert!(first["client_ref"].take().as_str().unwrap().starts_with("dlv_"));
    let expected = json!({ "channel": "sms", "message_type": "text", "from": "447700900000", "to": "447700900001",
                           "text": "hi", "client_ref": null, "webhook_url": STATUS, "webhook_version": "v1" });
    assert_eq!(first, expected);
    let second = json_of(&seen[1].body);
    assert_eq!((&second["channel"], &second["to"]), (&json!("whatsapp"), &json!("447700900001")));
    assert_eq!(second["text"].as_str().unwrap().len(), 1_000);
}

#[tokio::test]
async fn plivo_gets_its_form() {
    let receiver = Receiver::start().await;
    receiver.reply(202, &[], r#"{"message":"message(s) queued","message_uuid":["p-1"],"api_id":"a"}"#);
    let channels = plivo(&receiver.url);
    assert_eq!(id_of(&channels.sms.send(&outgoing(sms("14155550101", "14155550100", "hi"), 1)).await), "p-1");
    let seen = receiver.seen();
    assert_eq!(seen[0].uri, "/v1/Account/MA1/Message/");
    assert_eq!(seen[0].header("authorization"), "Basic TUExOnRvaw==");
    let expected = json!({ "src": "14155550101", "dst": "14155550100", "text": "hi", "url": STATUS, "method": "POST" });
    assert_eq!(json_of(&seen[0].body), expected);
}

#[tokio::test]
async fn their_refusals_are_final_and_their_troubles_pass() {
    let receiver = Receiver::start().await;
    let blocked = r#"{"errors":[{"code":"40300","title":"Blocked due to STOP message","detail":"stopped"}]}"#;
    let problem = r#"{"type":"https://…","title":"Low balance","detail":"no money","instance":"i"}"#;
    let plain = r#"{"api_id":"a","error":"dst is invalid"}"#;
    let all = [
        (telnyx(&receiver.url), blocked, "stopped"),
        (vonage(&receiver.url), problem, "no money"),
        (plivo(&receiver.url), plain, "dst is invalid"),
    ];
    for (channels, body, words) in all {
        for (status, expected) in
            [(400, "refused"), (401, "refused"), (422, "refused"), (429, "later:5000"), (503, "later:5000")]
        {
            receiver.reply(status, &[("retry-after", "5")], body);
            let sent = channels.sms.send(&outgoing(sms("1", "2", "x"), 1)).await;
            assert_eq!(kind(&sent), expected, "{status} {body}");
            assert!(format!("{sent:?}").contains(words), "{sent:?}");
        }
        assert_eq!(kind(&channels.sms.send(&outgoing(sms("1", "2", " "), 1)).await), "refused");
    }
    for channels in [telnyx(&hangs_up().await), vonage(&hangs_up().await), plivo(&hangs_up().await)] {
        assert_eq!(kind(&channels.sms.send(&outgoing(sms("1", "2", "x"), 1)).await), "later");
    }
}
