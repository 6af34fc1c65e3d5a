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
    let signed = check_signed(spec, own)?;
    // Many senders write `sha256=` before hex without saying so; hex has no `=`, so nothing is confused.
    let named = format!("{}=", own.algorithm);
    let signature = |prefix| Item::Signature { prefix, proof: Proof::Mac };
    let items = match own.prefix.as_str() {
        "" if encoding == Encoding::HexAnyCase => vec![signature(named.as_str()), signature("")],
        prefix => vec![signature(prefix)],
    };
    let header = format!("header:{}", own.header);
    let time = own.timestamp_header.as_ref().map(|name| format!("header:{name}"));
    // An id that is not signed could be changed to send a captured request again: the body's hash counts then.
    let believed =
        |name: &&String| spec.all_secrets().next().is_none() || signed.needs(&Source::Header((*name).clone()));
    let id = own.id_header.as_ref().filter(believed).map(|name| format!("{{header:{name}}}"));
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
fn check_signed(spec: &SourceSpec, own: &SignatureSpec) -> Result<Template, String> {
    let signed = Template::parse(&own.signed, &spec.options)?;
    if !signed.needs(&Source::Body) {
        return Err(format!("`signature.signed` is `{}` and leaves the body unsigned; add `{{body}}`", own.signed));
    }
    let Some(time) = &own.timestamp_header else { return Ok(signed) };
    if signed.needs(&Source::Header(time.clone())) {
        return Ok(signed);
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

#[cfg(test)]
mod tests {
    use crate::{
        crypto::Secret,
        domain::{
            source::{SecretRef, SourceSecret, SourceSpec},
            time::Timestamp,
        },
        ingress::{Inbound, LabelledSecret, gate::Gate},
    };

    #[test]
    fn an_id_counts_only_when_it_is_signed() {
        // HMAC-SHA256 with the key `0123456789abcdef` over `{}` and over `d-1.{}`.
        for (signed, expected) in [("{body}", None), ("{header:x-delivery}.{body}", Some("d-1"))] {
            let signature = serde_json::from_value(serde_json::json!({
                "header": "X-Signature", "id_header": "X-Delivery", "signed": signed,
            }));
            let secret = SourceSecret::Plain(SecretRef::Env { env: "A".to_owned() });
            let spec = SourceSpec {
                provider: "hmac".to_owned(),
                secret: Some(secret),
                signature: Some(signature.unwrap()),
                ..SourceSpec::default()
            };
            let secret = LabelledSecret { label: "a".to_owned(), secret: Secret::new("0123456789abcdef") };
            let gate = Gate::new(&spec, "https://a.example", vec![secret]).unwrap();
            let mac = if expected.is_some() {
                "0250e9601590f1f12132c6dc6c0488e7129bceab73d0d387ab8d96ed8b32a398"
            } else {
                "f91e3e9f05cc2df64ac1c26f8adccdffda8d1e4a7a8c50a1a08eeadac6ddfec5"
            };
            let headers =
                [("x-signature".to_owned(), mac.as_bytes().to_vec()), ("x-delivery".to_owned(), b"d-1".to_vec())];
            let request = Inbound { method: "POST", url: "https://a.example", headers: &headers, body: b"{}" };
            assert_eq!(gate.verify(&request, Timestamp(0)).unwrap().replay_id(), expected, "{signed}");
        }
    }
}
