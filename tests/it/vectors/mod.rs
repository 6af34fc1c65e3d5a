//! Recorded requests of every provider: verdicts, ids, fields, handshakes, replays, and what a forger tries.

mod agreement;
mod answers;
mod forgery;
mod garbage;
mod mutants;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

use postern::{
    crypto::Secret,
    domain::source::SignatureSpec,
    ingress::{
        LabelledSecret, Parsed, Rejection,
        gate::Gate,
        vectors::{Request, Vector},
    },
};
use serde_json::Value;

/// Whether a request is believed, asked as the server asks.
pub(crate) fn verdict(vector: &Vector, request: &Request, gate: &Gate) -> Result<(), Rejection> {
    vector.verify(gate, request).map(drop)
}

fn signature(value: Value) -> SignatureSpec {
    serde_json::from_value(value).unwrap()
}

fn secret(label: &str, text: &str) -> LabelledSecret {
    LabelledSecret::new(label, Secret::new(text.as_bytes()))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vectors").join(name)
}

fn vectors(name: &str) -> Vec<Vector> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("_sequences.json") {
            let text = fs::read_to_string(&path).unwrap();
            all.extend(serde_json::from_str::<Vec<Vector>>(&text).unwrap());
        }
    }
    assert!(!all.is_empty());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// What is believed because it is signed; some handshakes are answered to anybody.
pub(crate) fn accepted() -> Vec<Vector> {
    let is_signed = |vector: &Vector| {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        gate.greeting(&request.inbound()).is_none()
    };
    vectors("http").into_iter().filter(|vector| vector.is_accepted() && is_signed(vector)).collect()
}

fn named(name: &str) -> Vector {
    accepted().into_iter().find(|vector| vector.name == name).unwrap()
}

fn parse(vector: &Vector) -> Parsed {
    let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
    let verified = vector.verify(&gate, &request).unwrap();
    gate.parse(&verified, request.now).unwrap_or_else(|fault| panic!("{}: {fault}", vector.name))
}
