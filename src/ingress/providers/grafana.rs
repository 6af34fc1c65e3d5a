//! Grafana Alerting (grafana.com/docs, webhook notifier; github.com/grafana/alerting, http/hmac.go) and
//! Prometheus Alertmanager (prometheus.io/docs/alerting, webhook_config), whose bodies are alike.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Condition, Scheme, TimeRule},
};

const SIGNED: Scheme<'static> =
    Scheme { signature: &["header:X-Grafana-Alerting-Signature"], events: &["json:/status"], ..Scheme::HMAC };

const ABOUT: About = About {
    threads: &[&["/groupKey"]],
    // Reminders of the same alerts are one event; what fires again after its end begins at another time.
    items: Some(("/alerts", &["/fingerprint", "/status", "/startsAt"])),
    ..About::NOTHING
};

/// The contact point's HMAC. Its timestamp header is to be named `X-Grafana-Alerting-Timestamp` there.
pub static GRAFANA: Provider = Provider {
    name: "grafana",
    secret: "the contact point's HMAC secret",
    schemes: &[
        Scheme {
            id: "timestamp",
            when: &[Condition::Has("header:X-Grafana-Alerting-Timestamp")],
            signed: "{header:X-Grafana-Alerting-Timestamp}:{body}",
            time: TimeRule::minutes("header:X-Grafana-Alerting-Timestamp"),
            ..SIGNED
        },
        SIGNED,
    ],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};

/// Alertmanager proves itself by password or token alone.
pub static ALERTMANAGER: Provider = Provider {
    name: "alertmanager",
    secret: "`user:password`, or a bearer token",
    schemes: &[
        Scheme {
            id: "bearer",
            when: &[Condition::StartsWith("header:Authorization", &["Bearer ", "bearer "])],
            events: &["json:/status"],
            ..Scheme::BEARER
        },
        Scheme { id: "basic", events: &["json:/status"], ..Scheme::BASIC },
    ],
    replies: Replies { refused_headers: Replies::ASK_FOR_PASSWORD, ..Replies::accepting(200) },
    ..GRAFANA
};
