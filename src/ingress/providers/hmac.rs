//! Senders of an operator's own: `[sources.NAME.signature]` says how they sign.

use crate::{
    domain::source::{SignatureSpec, SourceSpec},
    ingress::{
        providers::Provider,
        signature::{
            engine::Engine,
            scheme::{Algorithm, Encoding, Hash, Item, KeyForm, Proof, Scheme, TimeRule, TimeUnit},
            template::{Source, Template},
        },
    },
};

/// See the module.
pub static HMAC: Provider = Provider { name: "hmac", operator_defined: Some(engine), ..Provider::WEBHOOK };

fn engine(spec: &SourceSpec, build: &dyn Fn(&[Scheme<'_>]) -> Result<Engine, String>) -> Result<Engine, String> {
    let own = match &spec.signature {
        Some(own) => own,
        None if spec.insecure && spec.all_secrets().next().is_none() => return build(&[Scheme::HMAC]),
        None => {
            return Err(
                "provider `hmac` needs `signature`; set at least `signature = { header = \"X-Signature\" }`".to_owned()
            );
        }
    };
    let hash = one_of(
        "algorithm",
        &own.algorithm,
        &[("sha256", Hash::Sha256), ("sha1", Hash::Sha1), ("sha512", Hash::Sha512)],
    )?;
    let encodings = [("hex", Encoding::HexAnyCase), ("base64", Encoding::Base64), ("base64url", Encoding::Base64Url)];
    let encoding = one_of("encoding", &own.encoding, &encodings)?;
    let key = one_of("key", &own.key, &[("utf8", KeyForm::Utf8), ("base64", KeyForm::Base64), ("hex", KeyForm::Hex)])?;
    check_signed(spec, own)?;
    // Many senders write `sha256=` before hex without saying so; hex has no `=`, so nothing is confused.
    let named = format!("{}=", own.algorithm);
    let signature = |prefix| Item::Signature { prefix, proof: Proof::Mac };
    let items = match own.prefix.as_str() {
        "" if encoding == Encoding::HexAnyCase => vec![signature(named.as_str()), signature("")],
        prefix => vec![signature(prefix)],
    };
    let header = format!("header:{}", own.header);
    let time = own.timestamp_header.as_ref().map(|name| format!("header:{name}"));
    let id = own.id_header.as_ref().map(|name| format!("{{header:{name}}}"));
    let event = own.event_header.as_ref().map(|name| format!("header:{name}"));
    let ids: Vec<&str> = id.iter().map(String::as_str).collect();
    let events: Vec<&str> = event.iter().map(String::as_str).collect();
    build(&[Scheme {
        algorithm: Algorithm::Hmac(hash),
        key,
        signature: &[&header],
        items: &items,
        encoding,
        signed: &own.signed,
        time: time.as_deref().map(|source| TimeRule { source, unit: TimeUnit::Seconds, past_s: 300, future_s: 300 }),
        ids: &ids,
        events: &events,
        ..Scheme::HMAC
    }])
}

/// A signature that leaves out the body or the time proves nothing about them.
fn check_signed(spec: &SourceSpec, own: &SignatureSpec) -> Result<(), String> {
    let signed = Template::parse(&own.signed, &spec.options)?;
    if !signed.needs(&Source::Body) {
        return Err(format!("`signature.signed` is `{}` and leaves the body unsigned; add `{{body}}`", own.signed));
    }
    let Some(time) = &own.timestamp_header else { return Ok(()) };
    if signed.needs(&Source::Header(time.clone())) {
        return Ok(());
    }
    Err(format!(
        "`signature.timestamp_header` is `{time}`, which `signature.signed` leaves unsigned; write `{{header:{time}}}` into it"
    ))
}

fn one_of<T: Copy>(key: &str, given: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("`signature.{key}` is `{given}`; write one of {}", names.join(", "))
    })
}
