//! What senders, proxies and people do to secrets, bodies, URLs and signatures.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::{
    crypto::Secret,
    ingress::{explain::json_text, gate::Gate, vectors::Request},
};

/// Other readings of a secret, each with what was done otherwise, to be put behind "is right, but".
pub(super) fn secrets(secret: &Secret) -> Vec<(&'static str, Secret)> {
    let text = secret.expose();
    let trimmed = text.trim_ascii();
    let unquoted = trimmed.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(trimmed);
    let bare = unquoted.strip_prefix(b"v1,").unwrap_or(unquoted);
    let bare = bare.strip_prefix(b"whsec_").unwrap_or(bare);
    let mut found: Vec<(&'static str, Vec<u8>)> = vec![
        ("stands here with blanks, a line break or quotes around it: remove them", unquoted.to_vec()),
        ("the sender uses it without its prefix `whsec_`", bare.to_vec()),
        ("the sender uses it with the prefix `whsec_`", [b"whsec_", text].concat()),
        (
            "it is used as text by the sender and as base64 here (or encoded once too little)",
            BASE64.encode(text).into_bytes(),
        ),
        ("it is used as text by the sender and as hex here", HEXLOWER.encode(text).into_bytes()),
        ("it lacks its prefix `whsec_` and is base64", [b"whsec_", BASE64.encode(text).as_bytes()].concat()),
    ];
    found.extend(
        BASE64.decode(bare).ok().map(|bytes| ("it is base64, and the sender signs with the decoded bytes", bytes)),
    );
    let hex = HEXLOWER_PERMISSIVE.decode(bare).ok();
    found.extend(hex.map(|bytes| ("it is hex, and the sender signs with the decoded bytes", bytes)));
    found.retain(|(_, changed)| changed != text && !changed.is_empty());
    found.into_iter().map(|(how, changed)| (how, Secret::new(changed))).collect()
}

/// The body before something re-wrote it, each with what that did.
pub(super) fn bodies(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |how: String, changed: Vec<u8>| {
        if changed != body && !found.iter().any(|(_, known)| *known == changed) {
            found.push((how, changed));
        }
    };
    let ended = |end: &[u8]| [body.trim_ascii_end(), end].concat();
    add("white space at its end was added".to_owned(), ended(b""));
    add("a line break at its end was removed".to_owned(), ended(b"\n"));
    add("a line break (CRLF) at its end was removed".to_owned(), ended(b"\r\n"));
    add("its CRLF line ends were made LF".to_owned(), with_crlf(body));
    add("its LF line ends were made CRLF".to_owned(), without_cr(body));
    add("a byte order mark was added".to_owned(), body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).to_vec());
    add("a byte order mark was removed".to_owned(), [b"\xef\xbb\xbf", body].concat());
    if let Ok(text) = std::str::from_utf8(body) {
        add("its blanks were written `%20` instead of `+`".to_owned(), text.replace("%20", "+").into_bytes());
        add("its blanks were written `+` instead of `%20`".to_owned(), text.replace('+', "%20").into_bytes());
        for (how, changed) in json_text::writings(text) {
            add(format!("its JSON was written again ({how} when it was signed)"), changed.into_bytes());
        }
    }
    found
}

fn without_cr(body: &[u8]) -> Vec<u8> {
    let is_kept = |(at, byte): (usize, &u8)| *byte != b'\r' || body.get(at + 1) != Some(&b'\n');
    body.iter().enumerate().filter(|(at, byte)| is_kept((*at, byte))).map(|(_, byte)| *byte).collect()
}

fn with_crlf(body: &[u8]) -> Vec<u8> {
    without_cr(body)
        .iter()
        .flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

/// Other URLs that the sender may have signed: by what the request says of its host, and by common slips.
pub(super) fn urls(request: &Request) -> Vec<String> {
    let (base, query) =
        request.url.split_once('?').map_or((request.url.as_str(), None), |(base, query)| (base, Some(query)));
    let Some((scheme, rest)) = base.split_once("://") else { return Vec::new() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let told = |name: &str| {
        let line = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        line.map(|(_, value)| String::from_utf8_lossy(value).split(',').next().unwrap_or_default().trim().to_owned())
    };
    let host = authority.split(':').next().unwrap_or_default();
    let mut authorities = vec![authority.to_owned(), host.to_owned(), format!("{host}:443"), format!("{host}:80")];
    authorities.extend(["X-Forwarded-Host", "Host"].iter().filter_map(|name| told(name)));
    authorities.push(host.strip_prefix("www.").map_or_else(|| format!("www.{host}"), str::to_owned));
    authorities.push(authority.to_ascii_lowercase());
    let mut paths = vec![path.to_owned(), format!("{path}/")];
    paths.extend(path.strip_suffix('/').map(str::to_owned));
    let queries = [query.map(|query| format!("?{query}")), None];
    let other = if scheme.eq_ignore_ascii_case("https") { "http" } else { "https" };
    let mut found = Vec::new();
    for scheme in [scheme, other] {
        for authority in &authorities {
            for path in &paths {
                for query in &queries {
                    let url = format!("{scheme}://{authority}{path}{}", query.as_deref().unwrap_or_default());
                    if url != request.url && !found.contains(&url) {
                        found.push(url);
                    }
                }
            }
        }
    }
    found
}

/// The request with its signature written in another way, each with what that means.
pub(super) fn headers(request: &Request, gate: &Gate) -> Vec<(String, Request)> {
    let places = gate.trace(&request.inbound(), request.now).places;
    let mut found = Vec::new();
    for (at, (name, value)) in request.headers.iter().enumerate() {
        let is_place =
            places.iter().any(|place| place.strip_prefix("header ").is_some_and(|p| p.eq_ignore_ascii_case(name)));
        let Ok(text) = std::str::from_utf8(value) else { continue };
        if !is_place {
            continue;
        }
        let bare = text.rsplit(['=', ',', ' ']).find(|part| part.len() > 20).unwrap_or(text);
        let mut writings = vec![
            ("blanks or quotes stand around it", text.trim().trim_matches('"').to_owned()),
            ("its hex is in upper case", text.to_ascii_lowercase()),
            ("it stands there with a prefix", bare.to_owned()),
        ];
        for prefix in ["sha256=", "sha1=", "v0=", "v1=", "v1,", "HMAC ", "Bearer "] {
            writings.push(("it lacks its prefix", format!("{prefix}{}", text.trim())));
            writings.push(("it has another prefix", format!("{prefix}{bare}")));
        }
        writings.extend(
            BASE64
                .decode(bare.as_bytes())
                .ok()
                .map(|bytes| ("it is base64 instead of hex", text.replace(bare, &HEXLOWER.encode(&bytes)))),
        );
        let hex = HEXLOWER_PERMISSIVE.decode(bare.as_bytes()).ok();
        writings.extend(hex.map(|bytes| ("it is hex instead of base64", text.replace(bare, &BASE64.encode(&bytes)))));
        for (how, written) in writings {
            let mut changed = request.clone();
            if let Some(line) = changed.headers.get_mut(at).filter(|_| written != text) {
                line.1 = written.into_bytes();
                found.push((
                    format!(
                        "the signature in `{name}` is right, but {how}: the sender writes it as another scheme does"
                    ),
                    changed,
                ));
            }
        }
    }
    found
}
