//! Events of services whose row says all that it takes to make one: an HMAC, or the secret itself, in a header.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    domain::source::SourceSpec,
    ingress::{
        providers,
        signature::{
            scheme::{Auth, Condition, Encoding, Item, KeyForm, Scheme, TimeRule, TimeUnit},
            url_form,
        },
        signing::{HookDraft, SignedRequest, Stamp, mac::Recipe, webhook},
    },
};

/// Rows that could be signed, and whose events are mail.
const MAIL: &[&str] = &["cloudflare_email", "postmark", "raw_mail", "sendgrid_inbound"];

/// Whether events of that provider can be made.
pub(super) fn is_signable(provider: &str) -> bool {
    !MAIL.contains(&provider) && scheme(provider).is_some()
}

/// The last row counts: those before it are for requests of another shape.
fn scheme(provider: &str) -> Option<&'static Scheme<'static>> {
    let provider = providers::find(provider).ok()?;
    provider.schemes.iter().rev().find(|scheme| {
        let is_secret = matches!(scheme.auth, Auth::Hmac | Auth::Token)
            && matches!(scheme.key, KeyForm::Utf8 | KeyForm::Base64 | KeyForm::Hex | KeyForm::StandardWebhooks);
        let is_other =
            |condition: &Condition<'_>| matches!(condition, Condition::MediaType(_) | Condition::Equals("method", _));
        is_secret && !scheme.when.iter().any(is_other) && header(scheme).is_some()
    })
}

fn header(scheme: &Scheme<'static>) -> Option<&'static str> {
    scheme.signature.first()?.strip_prefix("header:")
}

/// The request that the provider would send.
pub(super) fn sign(spec: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let scheme = scheme(&spec.provider).ok_or_else(|| format!("no event of `{}` can be made", spec.provider))?;
    let mut making = Making { body: draft.body.clone(), headers: Vec::new() };
    if let Some(event) = scheme.events.first() {
        making.set(event, json!(draft.kind.as_deref().unwrap_or("test")));
    }
    if let Some(time) = &scheme.time {
        making.set(time.source, now(time, stamp));
    }
    for place in scheme.ids.first().map(|id| places(id)).unwrap_or_default() {
        making.set(place, json!(stamp.unique));
    }
    let mut request = webhook::json_request(&making.body);
    request.headers.extend(making.headers);
    let recipe = Recipe { hash: scheme.hash, key: scheme.key, encoding: scheme.encoding };
    let signature = match (scheme.auth, stamp.secret) {
        (Auth::Token, Some(secret)) if scheme.encoding == Encoding::Base64 => BASE64.encode(secret.expose()),
        (Auth::Token, secret) => String::from_utf8_lossy(secret.map_or(&[], |secret| secret.expose())).into_owned(),
        _ => {
            let url = url_form::unescape(stamp.url.into(), scheme.url_decode);
            let signed = webhook::signed_text(spec, scheme.signed, &Stamp { url: &url, ..*stamp }, &mut request)?;
            recipe.sign(stamp.secret, &signed)?
        }
    };
    let prefix = scheme.items.iter().find_map(|item| match item {
        Item::Signature(prefix) => Some(*prefix),
        Item::Ed25519(_) | Item::Digits { .. } => None,
    });
    let header = header(scheme).unwrap_or_default();
    request.put(header, &format!("{}{signature}", prefix.unwrap_or_default()));
    Ok(request)
}

/// A request that is being made.
struct Making {
    body: Value,
    headers: Vec<(String, Vec<u8>)>,
}

impl Making {
    /// Puts a value where a source will read it. What stands there already stays, and places in lists are left alone.
    fn set(&mut self, source: &str, value: Value) {
        if let Some(name) = source.strip_prefix("header:") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.headers.push((name.to_ascii_lowercase(), text.into_bytes()));
        } else if let Some(pointer) = source.strip_prefix("json:/") {
            let mut names: Vec<&str> = pointer.split('/').collect();
            let is_in_list = names.iter().any(|name| name.bytes().all(|b| b.is_ascii_digit()));
            let (Some(last), false) = (names.pop(), is_in_list) else { return };
            let mut at = &mut self.body;
            for name in names {
                let Some(fields) = at.as_object_mut() else { return };
                at = fields.entry(name).or_insert_with(|| json!({}));
            }
            if let Some(fields) = at.as_object_mut() {
                fields.entry(last).or_insert(value);
            }
        }
    }
}

fn now(time: &TimeRule<'_>, stamp: &Stamp<'_>) -> Value {
    match time.unit {
        TimeUnit::Seconds => json!(stamp.now.unix_seconds()),
        TimeUnit::Milliseconds => json!(stamp.now.0),
        TimeUnit::Rfc3339 => json!(stamp.now.to_string()),
    }
}

/// The places of a template.
fn places(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place).collect()
}
