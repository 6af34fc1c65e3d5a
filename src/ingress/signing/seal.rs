//! A row run backwards: the signature that its sender would make, put where the sender puts it.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Map, Value, json};

use crate::{
    crypto::Secret,
    domain::{source::SourceSpec, time::Timestamp},
    ingress::{
        Inbound, LabelledSecret,
        reading::Reading,
        signature::{
            hash_choice::HashChoice,
            key::{self, Key, Shortest},
            mac::DigestState,
            public_key::PublicKey,
            scheme::{Auth, Condition, Encoding, Hash, Item, KeyForm, Scheme, TimeRule, TimeUnit},
            source::{Context, Source},
            template::Template,
            url_form,
        },
        signing::{SignedRequest, Stamp},
    },
};

/// Headers of a signed text that are made up at most.
const MOST_MADE_UP: usize = 16;

/// Signs a request as the row says. Headers with time and signature are added; what else is signed must be there.
pub(super) fn seal(
    spec: &SourceSpec,
    scheme: &Scheme<'_>,
    mut request: SignedRequest,
    stamp: &Stamp<'_>,
) -> Result<SignedRequest, String> {
    if matches!(scheme.key, KeyForm::Fetched(_)) {
        return if spec.insecure && stamp.secret.is_none() { Ok(request) } else { Err(fetched(&spec.provider)) };
    }
    if let Some(header) = scheme.time.as_ref().and_then(|time| time.source.strip_prefix("header:"))
        && !request.has(header)
    {
        let now = scheme.time.as_ref().map(|time| now(time, stamp.now)).unwrap_or_default();
        request.put(header, &plain(&now));
    }
    let Some(secret) = stamp.secret else { return Ok(request) };
    let is_standard_public = matches!(scheme.key, KeyForm::StandardWebhooks) && secret.expose().starts_with(b"whpk_");
    let auth = if is_standard_public { Auth::Ed25519 } else { scheme.auth };
    let written = match auth {
        Auth::Token => {
            let token = key::bytes(secret, scheme.key);
            let token = token.ok_or_else(|| format!("the source's secret is not {}", key::written(scheme.key)))?;
            encoded(token.expose(), scheme.encoding)
        }
        Auth::Jwt => jwt(spec, scheme, secret, stamp, &request)?,
        Auth::Hmac | Auth::Hash => {
            let key = Key::new(&LabelledSecret::new("", secret.clone()), scheme, Shortest::OneByte)
                .map_err(|fault| fault.replacen("secret ``", "the source's secret", 1))?;
            let signed = signed_text(spec, scheme, Some(&key), stamp, &mut request)?;
            let hash = hash_of(spec, scheme, &request)?;
            let made = key.computes(hash, |sink| {
                sink(&signed);
                Ok::<_, String>(())
            })?;
            encoded(&made.ok_or("the source's secret makes no signature")?, scheme.encoding)
        }
        Auth::Ed25519 | Auth::Ecdsa | Auth::Rsa => {
            let signed = signed_text(spec, scheme, None, stamp, &mut request)?;
            encoded(&with_private_key(auth, scheme.hash, (secret, &signed), stamp)?, scheme.encoding)
        }
    };
    let prefix = scheme.items.iter().find_map(|item| match item {
        Item::Signature(prefix) if !is_standard_public => Some(*prefix),
        Item::Ed25519(prefix) if is_standard_public => Some(*prefix),
        Item::Signature(_) | Item::Ed25519(_) | Item::Digits { .. } => None,
    });
    let place = scheme.signature.first().copied().unwrap_or_default();
    put_at(&mut request, place, &format!("{}{written}", prefix.unwrap_or_default()))?;
    Ok(request)
}

fn fetched(provider: &str) -> String {
    format!(
        "provider `{provider}` signs with its own certificate, which the gateway fetches from there, so that nobody else \
         can sign for it; for tests use a source with `insecure = true` and no `options.topic_arn` on loopback, or send \
         the mail to a `raw_mail` source"
    )
}

fn with_private_key(
    auth: Auth,
    hash: Hash,
    (public, message): (&Secret, &[u8]),
    stamp: &Stamp<'_>,
) -> Result<Vec<u8>, String> {
    let Some(key) = stamp.key else {
        return Err(
            "the source has its sender's public key alone, which signs nothing; make a key pair of your own, put its \
             public half among the source's `secrets`, and name the private one with `--key env:NAME` or `--key \
             file:PATH`"
                .to_owned(),
        );
    };
    let signature = key.sign(auth, hash, message)?;
    match PublicKey::parse(public.expose(), auth) {
        Some(public) if public.verifies(hash, message, &signature) => Ok(signature),
        Some(_) => Err("`--key` is not the private half of the source's public key".to_owned()),
        None => Err("the source's secret is not the public key that its provider needs".to_owned()),
    }
}

/// The claims that the row asks for, and an id.
fn jwt(
    spec: &SourceSpec,
    scheme: &Scheme<'_>,
    secret: &Secret,
    stamp: &Stamp<'_>,
    request: &SignedRequest,
) -> Result<String, String> {
    let mut claims = Map::new();
    claims.insert("iat".to_owned(), json!(stamp.now.unix_seconds()));
    claims.insert("jti".to_owned(), json!(stamp.unique));
    let claim = |source: &str| source.strip_prefix("claim:").map(str::to_owned);
    if let Some(time) = &scheme.time
        && let Some(name) = claim(time.source)
    {
        claims.insert(name, now(time, stamp.now));
    }
    if let Some(rule) = &scheme.body_hash
        && let Some(name) = claim(rule.source)
    {
        let mut digest = DigestState::new(rule.hash);
        digest.update(&request.body);
        claims.insert(name, json!(encoded(digest.finish().as_bytes(), rule.encoding)));
    }
    for condition in scheme.require {
        if let Condition::Equals(source, text) | Condition::OneOf(source, [text, ..]) = condition
            && let Some(name) = claim(source)
        {
            claims.insert(name, json!(text));
        }
    }
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let algorithm = match hash_of(spec, scheme, request)? {
        Hash::Sha512 => "HS512",
        Hash::Sha256 => "HS256",
        Hash::Md5 | Hash::Sha1 => return Err("no JWT is signed with so weak a hash".to_owned()),
    };
    let signed = format!("{}.{}", part(&json!({"alg": algorithm, "typ": "JWT"})), part(&Value::Object(claims)));
    let key = Key::new(&LabelledSecret::new("", secret.clone()), scheme, Shortest::OneByte)?;
    let made = key.computes(scheme.hash, |sink| {
        sink(signed.as_bytes());
        Ok::<_, String>(())
    })?;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&made.unwrap_or_default())))
}

fn hash_of(spec: &SourceSpec, scheme: &Scheme<'_>, request: &SignedRequest) -> Result<Hash, String> {
    let reading = Reading::new(request.inbound(""), None);
    HashChoice::new(scheme, &spec.options)?.choose(&Context::new(&reading)).map_err(|rejection| rejection.detail)
}

/// The bytes to sign. Headers that the template asks for and nobody gave are made up.
fn signed_text(
    spec: &SourceSpec,
    scheme: &Scheme<'_>,
    key: Option<&Key>,
    stamp: &Stamp<'_>,
    request: &mut SignedRequest,
) -> Result<Vec<u8>, String> {
    let template = Template::parse(scheme.signed, &spec.options)?;
    let url = url_form::unescape(stamp.url.into(), scheme.url_decode);
    for _ in 0..=MOST_MADE_UP {
        let mut signed = Vec::new();
        let missing = {
            let reading = Reading::new(request.inbound(&url), None);
            let context = Context { url: &url, key, ..Context::new(&reading) };
            match template.feed(&context, &mut |piece| signed.extend_from_slice(piece)) {
                Ok(()) => return Ok(signed),
                Err(missing) => missing.clone(),
            }
        };
        match missing {
            Source::Header(name) => request.put(&name, stamp.unique),
            other @ (Source::Json(_)
            | Source::Form(_)
            | Source::Query(_)
            | Source::Capture(_)
            | Source::Claim(_)
            | Source::Literal(_)
            | Source::Secret
            | Source::Method
            | Source::Url
            | Source::Body) => return Err(format!("the signed text needs {other:?}, which the event lacks")),
        }
    }
    Err(format!("the signed text asks for more than {MOST_MADE_UP} unknown headers"))
}

fn put_at(request: &mut SignedRequest, place: &str, value: &str) -> Result<(), String> {
    match place.split_once(':') {
        Some(("header", name)) => request.put(name, value),
        Some(("json", pointer)) => {
            let mut body: Value = serde_json::from_slice(&request.body).map_err(|fault| fault.to_string())?;
            set(&mut body, pointer, json!(value));
            request.body = body.to_string().into_bytes();
        }
        Some(("form", name)) => {
            let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            let joint = if request.body.is_empty() { "" } else { "&" };
            request.body.extend_from_slice(format!("{joint}{pair}").as_bytes());
        }
        _ => {
            return Err(format!(
                "the source reads its signature from `{place}`; only one in a header, a form field or JSON can be made"
            ));
        }
    }
    Ok(())
}

/// Puts a value where a JSON pointer will find it. What stands there already stays; lists are not made longer.
pub(super) fn set(body: &mut Value, pointer: &str, value: Value) {
    let mut names: Vec<&str> = pointer.trim_start_matches('/').split('/').collect();
    let Some(last) = names.pop() else { return };
    let mut at = body;
    for name in names {
        at = match at {
            Value::Array(items) => {
                let Some(item) = name.parse().ok().and_then(|index: usize| items.get_mut(index)) else { return };
                item
            }
            Value::Object(fields) => fields.entry(name).or_insert_with(|| json!({})),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
    }
    if let Some(fields) = at.as_object_mut() {
        fields.entry(last).or_insert(value);
    }
}

/// The time of signing as the row writes it.
pub(super) fn now(time: &TimeRule<'_>, at: Timestamp) -> Value {
    match time.unit {
        TimeUnit::Seconds => json!(at.unix_seconds()),
        TimeUnit::Milliseconds => json!(at.0),
        TimeUnit::Rfc3339 => json!(at.to_string()),
    }
}

/// A value as it stands in a header or a form.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn encoded(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex | Encoding::HexAnyCase => HEXLOWER.encode(bytes),
        Encoding::Base64 => BASE64.encode(bytes),
        Encoding::Base64Url => BASE64URL_NOPAD.encode(bytes),
        Encoding::Raw => String::from_utf8_lossy(bytes).into_owned(),
    }
}

impl SignedRequest {
    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn inbound<'r>(&'r self, url: &'r str) -> Inbound<'r> {
        Inbound { method: "POST", url, headers: &self.headers, body: &self.body }
    }
}

/// The digits in the shape of a UUID.
pub(super) fn uuid(unique: &str) -> String {
    let mut shaped = String::new();
    for (at, digit) in unique.chars().take(32).enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            shaped.push('-');
        }
        shaped.push(digit);
    }
    shaped
}
