//! SendGrid: Inbound Parse and the Event Webhook (twilio.com/docs/sendgrid/for-developers).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static SENDGRID: Provider = Provider { name: "sendgrid", parse: parse::parse, ..Provider::WEBHOOK };

/// Inbound Parse without a security policy: the request is not signed, so the URL carries user and password.
pub static SENDGRID_INBOUND: Provider = Provider { name: "sendgrid_inbound", ..SENDGRID };
