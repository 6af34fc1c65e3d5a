//! Stripe (docs.stripe.com/webhooks/signature). Its `whsec_…` is used as text; every retry is signed anew.

use crate::{
    domain::{event::Content, time::Timestamp},
    ingress::{
        ParseFault, Parsed,
        answer::Replies,
        gate::Verified,
        providers::{Provider, webhook},
        signature::scheme::{Item, Scheme, TimeRule},
    },
};

/// See the module.
pub static STRIPE: Provider = Provider {
    name: "stripe",
    secret: "`whsec_…` of the endpoint, as text",
    schemes: &[Scheme {
        signature: &["header:Stripe-Signature"],
        separator: Some(','),
        items: &[Item::Digits { prefix: "t=", name: "t" }, Item::Signature("v1=")],
        signed: "{cap:t}.{body}",
        time: TimeRule::minutes("cap:t"),
        ids: &["{json:/id}"],
        events: &["json:/type"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200).refusing(400),
    parse,
    ..Provider::WEBHOOK
};

fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    reading.json()?;
    let kind = verified
        .event()
        .ok_or_else(|| ParseFault { code: "missing_field", detail: "a Stripe event has a `type`".to_owned() })?;
    let mut parsed = webhook::parsed(verified, kind.to_owned(), Content::Webhook(webhook::request(verified)?));
    let is_customer = reading.json_text("/data/object/object").is_some_and(|object| object == "customer");
    parsed.thread_key = ["/data/object/customer", "/data/object/customer/id"]
        .into_iter()
        .chain(is_customer.then_some("/data/object/id"))
        .find_map(|pointer| reading.json_text(pointer))
        .map(std::borrow::Cow::into_owned);
    Ok(parsed)
}
