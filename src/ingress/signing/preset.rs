//! Events of services whose row says all that it takes to make one.

use serde_json::{Value, json};

use crate::{
    domain::source::SourceSpec,
    ingress::{
        providers,
        signature::scheme::{Condition, Scheme},
        signing::{HookDraft, SignedRequest, Stamp, form, seal, webhook},
    },
};

/// Providers whose requests are nothing but mail.
const MAIL_ALONE: &[&str] = &["cloudflare_email", "raw_mail", "sendgrid_inbound"];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Whether events of that provider can be made.
pub(super) fn is_signable(provider: &str) -> bool {
    !MAIL_ALONE.contains(&provider) && (scheme(provider, JSON).is_some() || scheme(provider, FORM).is_some())
}

/// The row for a POST of that kind to a source with these options; one that they ask for goes first.
pub(super) fn row(spec: &SourceSpec, media_type: &str) -> Option<&'static Scheme<'static>> {
    let provider = providers::find(&spec.provider).ok()?;
    let is_asked = |scheme: &&Scheme<'_>| {
        let asked = scheme.opt_in.and_then(|option| option.split_once('='));
        asked.is_some_and(|(option, value)| spec.options.get(option).is_some_and(|set| set.eq_ignore_ascii_case(value)))
    };
    let asked = provider.schemes.iter().rev().filter(is_asked).find(|scheme| fits(scheme, media_type));
    asked.or_else(|| scheme(&spec.provider, media_type))
}

/// The row for a POST of that kind. The last one that fits counts: those before it are for requests of another shape.
pub(super) fn scheme(provider: &str, media_type: &str) -> Option<&'static Scheme<'static>> {
    let provider = providers::find(provider).ok()?;
    provider.schemes.iter().rev().find(|scheme| scheme.opt_in.is_none() && fits(scheme, media_type))
}

fn fits(scheme: &Scheme<'_>, media_type: &str) -> bool {
    scheme.when.iter().all(|condition| match condition {
        Condition::MediaType(types) => types.contains(&media_type),
        Condition::Equals("method", method) => *method == "POST",
        // A signed request of theirs can only be a notification.
        Condition::OneOf("json:/Type", _) => false,
        Condition::Has(source) => !source.starts_with("query:"),
        Condition::Equals(_, _)
        | Condition::Lacks(_)
        | Condition::Differs(_, _)
        | Condition::OneOf(_, _)
        | Condition::StartsWith(_, _)
        | Condition::IsOption(_, _) => true,
    })
}

/// The request that the provider would send: JSON, or a form of the body's fields where it sends forms alone.
pub(super) fn sign(spec: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let unknown = || format!("no event of `{}` can be made", spec.provider);
    let (scheme, is_form) = match row(spec, JSON) {
        Some(scheme) => (scheme, false),
        None => (row(spec, FORM).ok_or_else(unknown)?, true),
    };
    made((spec, scheme), draft, is_form.then_some(form_request as Write), stamp)
}

type Write = fn(&Value) -> SignedRequest;

/// The request of a row, written as JSON unless it is to be written otherwise.
pub(super) fn made(
    (spec, scheme): (&SourceSpec, &Scheme<'_>),
    draft: &HookDraft,
    write: Option<Write>,
    stamp: &Stamp<'_>,
) -> Result<SignedRequest, String> {
    let is_batch = scheme.events.first().is_some_and(|event| event.starts_with("json:/0/"));
    let body = if is_batch && draft.body.is_object() { json!([draft.body]) } else { draft.body.clone() };
    let mut making = Making { body, headers: Vec::new() };
    if let Some(event) = scheme.events.iter().find(|event| !event.starts_with("const:")) {
        making.set(event, json!(draft.kind.as_deref().unwrap_or("test")));
    }
    if let Some(time) = &scheme.time {
        making.set(time.source, seal::now(time, stamp.now));
    }
    for place in scheme.ids.first().map(|id| places(id)).unwrap_or_default() {
        making.set(place, json!(stamp.unique));
    }
    let mut request = write.unwrap_or(webhook::json_request)(&making.body);
    request.headers.extend(making.headers);
    seal::seal(spec, scheme, request, stamp)
}

/// The fields of an object as a form; what is no scalar is written as JSON.
fn form_request(body: &Value) -> SignedRequest {
    let fields = body.as_object().into_iter().flatten();
    let fields: Vec<(String, String)> = fields.map(|(name, value)| (name.clone(), seal::plain(value))).collect();
    let (content_type, body) = form::urlencoded(&fields);
    SignedRequest { headers: vec![("content-type".to_owned(), content_type.into_bytes())], body }
}

/// A request that is being made.
struct Making {
    body: Value,
    headers: Vec<(String, Vec<u8>)>,
}

impl Making {
    /// Puts a value where a source will read it. What stands there already stays.
    fn set(&mut self, source: &str, value: Value) {
        match source.split_once(':') {
            Some(("header", name)) => self.headers.push((name.to_ascii_lowercase(), seal::plain(&value).into_bytes())),
            Some(("json", pointer)) => seal::set(&mut self.body, pointer, value),
            Some(("form", name)) => seal::set(&mut self.body, name, value),
            _ => {}
        }
    }
}

/// The places of a template.
fn places(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place).collect()
}
