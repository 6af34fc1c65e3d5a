//! Text messages by Twilio.

use postern::{
    config::settings::SmsChannel,
    domain::delivery::{Attempt, Message, SmsMessage},
    outbound::Channels,
};
use serde_json::json;

use super::{
    channels, env, golden, golden_header, kind, outgoing,
    receiver::{Receiver, hangs_up},
};

fn twilio(url: &str) -> Channels {
    let channel = SmsChannel::Twilio {
        account_sid: "AC00000000000000000000000000000000".to_owned(),
        auth_token: env("TOKEN"),
        api_key: None,
        messaging_service_sid: None,
        status_url: None,
        base_url: Some(url.to_owned()),
    };
    channels(None, Some(channel), "tok")
}

fn sms(text: &str) -> Message {
    Message::Sms(SmsMessage { from: "+14155550199".to_owned(), to: "+14155550132".to_owned(), text: text.to_owned() })
}

fn form(text: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    pairs.retain(|(name, _)| name != "StatusCallback");
    pairs.sort();
    pairs
}

#[tokio::test]
async fn twilio_gets_the_request_of_its_own_clients() {
    let receiver = Receiver::start().await;
    receiver.reply(201, &[], r#"{"sid":"SM1","status":"queued"}"#);
    let sent = twilio(&receiver.url).sms.send(&outgoing(sms("done ✓ & **more**"), 1)).await;
    let expected =
        Attempt::Delivered { provider_id: Some("SM1".to_owned()), detail: "201 queued 1 segments UCS-2".to_owned() };
    assert_eq!(sent, expected);
    let golden = golden("/Messages.json", "twilio");
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].uri.as_str()), ("POST", golden["path"].as_str().unwrap()));
    assert_eq!(seen[0].header("authorization"), golden_header(&golden, "authorization"));
    assert_eq!(seen[0].header("content-type"), golden_header(&golden, "content-type"));
    assert_eq!(form(&String::from_utf8(seen[0].body.clone()).unwrap()), form(golden["body_text"].as_str().unwrap()));
}

#[tokio::test]
async fn each_error_of_twilio_has_its_meaning() {
    let receiver = Receiver::start().await;
    let channels = twilio(&receiver.url);
    for (status, code, expected) in [
        (400, 21211, "refused"),
        (400, 21408, "refused"),
        (400, 21610, "refused"),
        (400, 21614, "refused"),
        (400, 21617, "refused"),
        (401, 20003, "refused"),
        (404, 20404, "refused"),
        (429, 20429, "later:5000"),
        (400, 20429, "later:5000"),
        (500, 20500, "later:5000"),
        (503, 0, "later:5000"),
    ] {
        let body = json!({ "code": code, "message": "m", "status": status }).to_string();
        receiver.reply(status, &[("retry-after", "5")], &body);
        assert_eq!(kind(&channels.sms.send(&outgoing(sms("x"), 1)).await), expected, "{status} {code}");
    }
    receiver.reply(502, &[], "<html>");
    assert_eq!(kind(&channels.sms.send(&outgoing(sms("x"), 1)).await), "later");
    assert_eq!(kind(&twilio(&hangs_up().await).sms.send(&outgoing(sms("x"), 1)).await), "later");
}

#[tokio::test]
async fn a_text_that_arrived_unseen_is_not_sent_again() {
    let receiver = Receiver::start().await;
    let channels = twilio(&receiver.url);
    let earlier = |body: &str, from: &str, made: &str| {
        json!({ "messages": [{ "sid": "SM9", "body": body, "from": from, "to": "+14155550132",
                "status": "sent", "date_created": made }] })
        .to_string()
    };
    let at = "Wed, 18 Nov 2026 11:06:41 +0000";
    receiver.reply(200, &[], &earlier("done", "+14155550199", at));
    let sent = channels.sms.send(&outgoing(sms("done"), 2)).await;
    assert!(matches!(&sent, Attempt::Delivered { provider_id: Some(id), .. } if id == "SM9"), "{sent:?}");
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].method.as_str()), (1, "GET"));
    let query = seen[0].uri.split_once('?').unwrap().1.to_owned();
    assert!(form(&query).contains(&("To".to_owned(), "+14155550132".to_owned())), "{query}");
    assert!(form(&query).contains(&("DateSent>".to_owned(), "2026-11-18".to_owned())), "{query}");

    for (body, from, made) in [
        ("other", "+14155550199", at),
        ("done", "+14155550100", at),
        ("done", "+14155550199", "Wed, 18 Nov 2026 11:00:00 +0000"),
        ("done", "+14155550199", ""),
    ] {
        receiver.reply(200, &[], &earlier(body, from, made));
        receiver.reply(201, &[], r#"{"sid":"SM10"}"#);
        let sent = channels.sms.send(&outgoing(sms("done"), 2)).await;
        assert!(matches!(&sent, Attempt::Delivered { provider_id: Some(id), .. } if id == "SM10"), "{sent:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_while_it_is_unknown_whether_it_arrived() {
    let receiver = Receiver::start().await;
    let channels = twilio(&receiver.url);
    for (status, body, expected) in [(503, "", "later"), (200, "no json", "later"), (401, "{}", "refused")] {
        receiver.reply(status, &[], body);
        assert_eq!(kind(&channels.sms.send(&outgoing(sms("x"), 3)).await), expected);
    }
    assert!(receiver.seen().iter().all(|seen| seen.method == "GET"));
}
