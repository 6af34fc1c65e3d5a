//! An explanation as it is shown.

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::ingress::{
    Rejection,
    explain::{Case, cause::Cause},
    signature::trace::Trace,
};

/// Bytes of what was signed that are shown, from its beginning and from its end.
const SHOWN_HEAD: usize = 1500;
const SHOWN_TAIL: usize = 200;

/// Who reads an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveal {
    /// Somebody who has the secrets anyway: the right signatures are shown.
    Signatures,
    /// Anybody else: a right signature shown for somebody's own request would let him send it.
    Nothing,
}

/// Why a request is believed or not.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `accept` or `reject`.
    pub verdict: &'static str,
    /// `ok`, or the code of the rejection.
    pub reason: &'static str,
    /// Why it was rejected, in words.
    pub detail: Option<String>,
    /// The most likely cause of the rejection, found by trying.
    pub cause: Option<Cause>,
    /// The source's provider.
    pub provider: String,
    /// The shape of its requests that fits; empty when there is only one, `None` when none fits.
    pub scheme: Option<String>,
    /// What proves that the sender knows the secret.
    pub algorithm: String,
    /// Where signatures are looked for.
    pub places: Vec<String>,
    /// The label of the secret that matches.
    pub secret: Option<String>,
    /// The secrets that were tried.
    pub secrets: Vec<TriedSecret>,
    /// What is signed, escaped and cut in its middle; one for each spelling of the URL that differs.
    pub signed: Vec<String>,
    /// Bytes of the first of it.
    pub signed_bytes: usize,
    /// What is signed and not there.
    pub lacks: Option<String>,
    /// The signatures that the request has, in hex.
    pub given: Vec<String>,
    /// How old the signature is, in seconds; negative when it lies ahead.
    pub age_s: Option<f64>,
    /// How many seconds it may lie behind and ahead.
    pub window_s: Option<(i64, i64)>,
}

/// A secret that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct TriedSecret {
    /// Stands for the secret.
    pub label: String,
    /// Whether its time is not over.
    pub holds: bool,
    /// Whether it makes one of the signatures that the request has.
    pub matches: bool,
    /// The signatures that it makes, in hex, one for each text in [`Explanation::signed`]; shown to operators only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
    /// The first hex digit, from 0, in which the nearest expected signature differs from the first given one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_difference: Option<usize>,
}

impl Explanation {
    pub(super) fn new(
        case: &Case<'_>,
        verdict: Result<String, Rejection>,
        trace: Trace,
        cause: Option<Cause>,
        reveal: Reveal,
    ) -> Self {
        let (secret, rejection) = match verdict {
            Ok(label) => (Some(label), None),
            Err(rejection) => (None, Some(rejection)),
        };
        let given: Vec<String> = trace.given.iter().map(|bytes| HEXLOWER.encode(bytes)).collect();
        let is_token = trace.algorithm == "the secret itself";
        let secrets = trace.keys.iter().map(|key| {
            let matches =
                secret.as_deref() == Some(&*key.label) || key.expected.iter().any(|made| trace.given.contains(made));
            let made = key.expected.iter().map(|bytes| HEXLOWER.encode(bytes));
            let expected: Vec<String> = made.filter(|_| reveal == Reveal::Signatures).collect();
            let difference = given.first().and_then(|given| nearest(&expected, given));
            TriedSecret { label: key.label.clone(), holds: key.holds, matches, expected, first_difference: difference }
        });
        let secrets = secrets.collect();
        let (signed, lacks) = match trace.signed {
            Ok(signed) => (signed, None),
            Err(lacks) => (Vec::new(), Some(lacks)),
        };
        Self {
            verdict: if rejection.is_none() { "accept" } else { "reject" },
            reason: rejection.as_ref().map_or("ok", |rejection| rejection.code),
            detail: rejection.map(|rejection| rejection.detail),
            cause,
            provider: case.spec.provider.clone(),
            scheme: trace.scheme,
            algorithm: trace.algorithm,
            places: trace.places,
            secret,
            secrets,
            signed_bytes: signed.first().map_or(0, Vec::len),
            signed: if is_token { Vec::new() } else { signed.iter().map(|text| escaped(text)).collect() },
            lacks,
            given: if is_token { Vec::new() } else { given },
            age_s: trace.age_ms.map(|ms| ms as f64 / 1000.0),
            window_s: trace.window_ms.map(|(past, future)| (past / 1000, future / 1000)),
        }
    }
}

/// Where the expected signature that agrees longest with the given one parts from it; `None` when one is equal.
fn nearest(expected: &[String], given: &str) -> Option<usize> {
    let shared = |one: &String| one.bytes().zip(given.bytes()).take_while(|(a, b)| a == b).count();
    if expected.iter().any(|one| one == given) {
        return None;
    }
    expected.iter().map(shared).max()
}

/// Bytes as printable ASCII, with what is left out of the middle.
fn escaped(text: &[u8]) -> String {
    if text.len() <= SHOWN_HEAD + SHOWN_TAIL {
        return text.escape_ascii().to_string();
    }
    let (head, rest) = text.split_at(SHOWN_HEAD);
    let (middle, tail) = rest.split_at(rest.len() - SHOWN_TAIL);
    format!("{} … {} bytes … {}", head.escape_ascii(), middle.len(), tail.escape_ascii())
}
