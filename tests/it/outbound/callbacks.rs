//! Callbacks by Standard Webhooks.

use std::sync::Arc;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use postern::{
    clock::Clock,
    domain::{
        delivery::{Message, WebhookMessage},
        trigger::ReplySecret,
    },
    outbound::{Channel, webhook::WebhookChannel},
};
use serde_json::json;

use super::{
    NOW, OneSecret, egress, kind, outgoing,
    receiver::{Receiver, hangs_up},
};

const TWO_KEYS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn callback(url: &str, secret: &str) -> Message {
    Message::Webhook(WebhookMessage {
        url: url.to_owned(),
        secret: ReplySecret::Named(secret.to_owned()),
        kind: "run.succeeded".to_owned(),
        data: json!({ "text": "done ✓" }),
    })
}

fn channel(clock: &Clock) -> WebhookChannel {
    WebhookChannel::new(egress(), clock.clone(), Arc::new(OneSecret(TWO_KEYS)))
}

#[tokio::test]
async fn a_callback_is_signed_anew_at_each_attempt_with_every_key() {
    let receiver = Receiver::start().await;
    let clock = Clock::fixed(NOW);
    let channel = channel(&clock);
    assert_eq!(kind(&channel.send(&outgoing(callback(&receiver.url, "k"), 1)).await), "delivered");
    clock.advance(60_000);
    channel.send(&outgoing(callback(&receiver.url, "k"), 2)).await;

    let seen = receiver.seen();
    assert_eq!((&seen[0].body, seen[0].header("webhook-id")), (&seen[1].body, seen[1].header("webhook-id")));
    assert_eq!(seen[0].header("webhook-id"), "dlv_00000000000000000000000001");
    assert_eq!(seen[0].header("content-type"), "application/json");
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    let expected =
        json!({ "type": "run.succeeded", "timestamp": "2026-11-18T11:06:40.000Z", "data": { "text": "done ✓" } });
    assert_eq!(body, expected);
    for (request, at) in seen.iter().zip(["1795000000", "1795000060"]) {
        assert_eq!(request.header("webhook-timestamp"), at);
        let signatures: Vec<String> = TWO_KEYS
            .split(' ')
            .map(|key| {
                let key = BASE64.decode(key.trim_start_matches("whsec_").as_bytes()).unwrap();
                let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
                mac.update(format!("dlv_00000000000000000000000001.{at}.").as_bytes());
                mac.update(&request.body);
                format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
            })
            .collect();
        assert_eq!(request.header("webhook-signature"), signatures.join(" "));
    }
}

#[tokio::test]
async fn each_status_of_a_receiver_has_its_meaning() {
    let receiver = Receiver::start().await;
    let channel = channel(&Clock::fixed(NOW));
    for (status, headers, expected) in [
        (200, vec![], "delivered"),
        (204, vec![], "delivered"),
        (301, vec![("location", "http://127.0.0.1:1/")], "refused"),
        (307, vec![("location", "/again")], "refused"),
        (400, vec![], "later"),
        (401, vec![], "later"),
        (404, vec![], "later"),
        (408, vec![], "later"),
        (410, vec![], "refused"),
        (429, vec![("retry-after", "30")], "later:30000"),
        (500, vec![], "later"),
        (503, vec![("retry-after", "Wed, 18 Nov 2026 11:07:40 GMT")], "later:60000"),
        (503, vec![("retry-after", "999999999")], "later:86400000"),
    ] {
        receiver.reply(status, &headers, "");
        let sent = channel.send(&outgoing(callback(&receiver.url, "k"), 1)).await;
        assert_eq!(kind(&sent), expected, "{status}: {sent:?}");
    }
    assert_eq!(receiver.seen().len(), 13, "a redirect was followed");
    assert_eq!(kind(&channel.send(&outgoing(callback(&hangs_up().await, "k"), 1)).await), "later");
    assert_eq!(kind(&channel.send(&outgoing(callback(&receiver.url, "k_missing"), 1)).await), "later");
    assert_eq!(kind(&channel.send(&outgoing(callback("ftp://a.example/", "k"), 1)).await), "refused");
    assert_eq!(kind(&channel.send(&outgoing(callback("http://10.0.0.1/", "k"), 1)).await), "refused");
}
