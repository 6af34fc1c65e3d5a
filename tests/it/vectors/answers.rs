//! What became of a request, as its sender hears it and as the record says it.

use postern::{
    domain::{
        id::{EventId, RunId},
        source::SourceSpec,
        time::Timestamp,
    },
    ingress::{Outcome, gate::Gate},
};
use serde_json::{Value, json};

use super::{named, parse, secret};

#[test]
fn people_delivery_reports_and_opt_outs_are_told_apart() {
    let of = |name: &str| parse(&named(name));
    for (name, kind, thread, quiet) in [
        ("twilio/sms", "sms", Some("+14155550132|+14155550199"), None),
        (
            "twilio/opt-out",
            "sms",
            Some("+14155550132|+14155550199"),
            Some("the opt-out word STOP: they get no more messages from this number"),
        ),
        ("twilio/status-callback-undelivered", "sms.undelivered", None, Some("a status callback: undelivered")),
        ("mailgun/route-parsed-reply", "email", Some("CAF7kTz0aa=1@mail.northwind.example"), None),
        ("mailgun/event-failed", "email.failed", None, Some("a delivery report: failed")),
        ("github/issues", "issues.assigned", Some("Codertocat/Hello-World#1"), None),
        ("slack/app-mention", "app_mention", Some("C0LAN2Q65:1795103100.000100"), None),
        ("slack/url-verification", "url_verification", None, Some("a handshake")),
    ] {
        let parsed = of(name);
        assert_eq!(
            (parsed.kind.as_str(), parsed.thread_key.as_deref(), parsed.quiet.as_deref()),
            (kind, thread, quiet),
            "{name}"
        );
    }
    assert!(of("mailgun/auto-reply").automatic.is_some());
}

#[test]
fn senders_hear_what_their_provider_expects() {
    let gate = |provider: &str| {
        let spec = SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() };
        Gate::new(&spec, "https://h.example/in/x", vec![secret("main", "bG9uZy1lbm91Z2g=")]).unwrap()
    };
    let event: EventId = EventId::new(Timestamp(0));
    let run = RunId::new(Timestamp(0));
    let accepted = Outcome::Accepted { event: event.clone(), runs: vec![run.clone()] };
    let malformed = Outcome::Malformed { code: "malformed_json", detail: "x".to_owned(), event: Some(event.clone()) };
    for (provider, ok, refused, broken) in [
        ("github", 202, 401, 400),
        ("standard", 202, 401, 400),
        ("stripe", 200, 400, 400),
        ("slack", 200, 401, 400),
        ("mailgun", 200, 406, 406),
        ("twilio", 200, 403, 400),
        ("bearer", 202, 401, 400),
    ] {
        let gate = gate(provider);
        let status = |outcome| gate.answer(outcome).status;
        assert_eq!(
            (status(&accepted), status(&Outcome::Unauthorized("bad_signature")), status(&malformed)),
            (ok, refused, broken),
            "{provider}"
        );
        assert_eq!(
            (status(&Outcome::TooLarge), status(&Outcome::Busy { retry_after_s: 10 }), status(&Outcome::Unavailable)),
            (413, 429, 503)
        );
    }
    for takes_every_4xx_as_an_end in ["aws_sns", "sendgrid_inbound", "zoom"] {
        let answer = gate(takes_every_4xx_as_an_end).answer(&Outcome::Busy { retry_after_s: 10 });
        assert_eq!(answer.status, 503, "{takes_every_4xx_as_an_end}");
    }
    let answer = gate("github").answer(&accepted);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body, json!({ "event": event, "runs": [run], "status": "accepted" }));
    let answer = gate("twilio").answer(&accepted);
    assert_eq!((answer.content_type, answer.body.as_str()), ("text/xml", "<Response></Response>"));
    let answer = gate("slack").answer(&Outcome::Unauthorized("bad_signature"));
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(answer.headers, [("X-Slack-No-Retry", "1".to_owned())]);
    assert!(!answer.body.contains("bad_signature"));
    assert!(gate("github").answer(&Outcome::Unavailable).retry_after_s.is_some());
}
