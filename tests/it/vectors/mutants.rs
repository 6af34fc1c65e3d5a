//! Would the recorded requests notice? Every field of every row is changed, one at a time. What none of them notices stands in
//! `unnoticed.txt`.

use std::{collections::BTreeSet, fs};

use postern::ingress::{
    gate::Gate,
    providers::{self, Provider},
    signature::scheme::{Auth, Encoding, Hash, Item, KeyForm, Scheme, TimeRule, TimeUnit},
    vectors::{Request, Vector},
};
use serde_json::{Value, json};

use super::{folder, vectors};

type Row = Scheme<'static>;

/// A list without its item at `at`.
fn without<T: Copy>(list: &[T], at: usize) -> &'static [T] {
    let kept: Vec<T> = list.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, item)| *item).collect();
    Vec::leak(kept)
}

/// The rows that differ from `row` in one field, with the field's name.
fn mutants(row: &Row) -> Vec<(String, Row)> {
    let mut all: Vec<(String, Row)> = Vec::new();
    let mut add = |name: &str, changed: Row| all.push((name.to_owned(), changed));
    for at in 0..row.when.len() {
        add(&format!("when {at} gone"), Row { when: without(row.when, at), ..*row });
    }
    add("opt_in", Row { opt_in: if row.opt_in.is_some() { None } else { Some("never") }, ..*row });
    let auth = if row.auth == Auth::Hmac { Auth::Hash } else { Auth::Hmac };
    add("auth", Row { auth, ..*row });
    if matches!(row.auth, Auth::Hmac | Auth::Hash | Auth::Jwt | Auth::Rsa) {
        let hash = if row.hash == Hash::Sha512 { Hash::Sha256 } else { Hash::Sha512 };
        add("hash", Row { hash, ..*row });
        let key = if matches!(row.key, KeyForm::Utf8) { KeyForm::Hex } else { KeyForm::Utf8 };
        add("key", Row { key, ..*row });
    }
    if row.hash_from.is_some() {
        add("hash_from gone", Row { hash_from: None, ..*row });
    }
    for at in 0..row.signature.len() {
        add(&format!("signature {at} gone"), Row { signature: without(row.signature, at), ..*row });
    }
    if row.separator.is_some() {
        add("separator gone", Row { separator: None, ..*row });
    }
    for at in 0..row.items.len() {
        add(&format!("item {at} gone"), Row { items: without(row.items, at), ..*row });
        let mut items = row.items.to_vec();
        items[at] = match items[at] {
            Item::Signature(prefix) => Item::Signature(String::leak(format!("{prefix}~"))),
            Item::Ed25519(prefix) => Item::Ed25519(String::leak(format!("{prefix}~"))),
            Item::Digits { prefix, name } => Item::Digits { prefix: String::leak(format!("{prefix}~")), name },
        };
        add(&format!("item {at} prefix"), Row { items: Vec::leak(items), ..*row });
    }
    let encoding = if row.encoding == Encoding::Base64 { Encoding::Hex } else { Encoding::Base64 };
    add("encoding", Row { encoding, ..*row });
    if !row.signed.is_empty() {
        add("signed", Row { signed: String::leak(format!("{}~", row.signed)), ..*row });
    }
    if let Some(rule) = row.time {
        let mut time = |name: &str, rule: Option<TimeRule<'static>>| add(name, Row { time: rule, ..*row });
        time("time gone", None);
        let unit = if rule.unit == TimeUnit::Seconds { TimeUnit::Milliseconds } else { TimeUnit::Seconds };
        time("time unit", Some(TimeRule { unit, ..rule }));
        time("time source", Some(TimeRule { source: "header:x-nowhere", ..rule }));
        time("time past narrow", Some(TimeRule { past_s: -1, ..rule }));
        time("time past wide", Some(TimeRule { past_s: i64::MAX / 2000, ..rule }));
        time("time future wide", Some(TimeRule { future_s: i64::MAX / 2000, ..rule }));
    }
    if row.body_hash.is_some() {
        add("body_hash gone", Row { body_hash: None, ..*row });
    }
    for at in 0..row.url_forms.len().min(if row.signed.contains("url") { 9 } else { 0 }) {
        add(&format!("url form {at} gone"), Row { url_forms: without(row.url_forms, at), ..*row });
    }
    if !row.url_decode.is_empty() {
        add("url_decode", Row { url_decode: "", ..*row });
    }
    for at in 0..row.require.len() {
        add(&format!("require {at} gone"), Row { require: without(row.require, at), ..*row });
    }
    if row.bound.is_some() {
        add("bound gone", Row { bound: None, ..*row });
    }
    for at in 0..row.ids.len() {
        add(&format!("id {at} gone"), Row { ids: without(row.ids, at), ..*row });
    }
    for at in 0..row.events.len() {
        add(&format!("event {at} gone"), Row { events: without(row.events, at), ..*row });
    }
    all
}

/// How far the clock is moved, in seconds: every window is narrower than that.
const CLOCKS_S: [i64; 3] = [0, 4_000_000, -4_000_000];

/// What the world sees of requests at a provider, at several clocks: verdicts, ids, and names.
fn seen(vector: &Vector, provider: &'static Provider, requests: &[Request], clocks_s: &[i64]) -> Value {
    let spec = vector.spec().unwrap();
    let Ok(gate) = Gate::of(provider, &spec, vector.public_url(), vector.labelled_secrets()) else {
        return json!("unready");
    };
    let at = |(request, seconds): (&Request, &i64)| {
        let report = vector.judge(&gate, &Request { now: request.now.plus_ms(seconds * 1000), ..request.clone() });
        json!([report.verdict, report.replay_id, report.event_type])
    };
    requests.iter().flat_map(|request| clocks_s.iter().map(move |seconds| at((request, seconds)))).collect()
}

/// The request without each of its headers, and with `Authorization: bearer` in small letters.
fn derived(vector: &Vector) -> Vec<Request> {
    let request = vector.request().unwrap();
    let mut all = Vec::new();
    for at in 0..request.headers.len() {
        let mut without = request.clone();
        let (name, value) = without.headers.remove(at);
        if name.eq_ignore_ascii_case("authorization") {
            let text = String::from_utf8(value).unwrap();
            let small = text.replace("Bearer", "bearer").replace("Basic", "basic");
            let mut changed = without.clone();
            changed.headers.push((name, small.into_bytes()));
            all.push(changed);
        }
        all.push(without);
    }
    all
}

#[test]
fn a_changed_row_is_noticed() {
    let all = ["http", "http-ambiguous", "http-own"].map(vectors);
    let all: Vec<Vector> = all.into_iter().flatten().collect();
    let (mut noticed, mut survivors) = (0, BTreeSet::new());
    for provider in providers::ALL.iter().filter(|provider| provider.operator_defined.is_none()) {
        let own: Vec<&Vector> =
            all.iter().filter(|vector| vector.spec().is_ok_and(|spec| spec.provider == provider.name)).collect();
        let plain: Vec<Vec<Request>> = own.iter().map(|vector| vec![vector.request().unwrap()]).collect();
        let derived: Vec<Vec<Request>> = own.iter().map(|vector| derived(vector)).collect();
        let all_seen = |by: &'static Provider, requests: &[Vec<Request>], clocks_s: &[i64]| -> Vec<Value> {
            own.iter().zip(requests).map(|(vector, requests)| seen(vector, by, requests, clocks_s)).collect()
        };
        let before = (all_seen(provider, &plain, &CLOCKS_S), all_seen(provider, &derived, &[0]));
        for (at, row) in provider.schemes.iter().enumerate().filter(|_| !own.is_empty()) {
            for (field, changed) in mutants(row) {
                let mut rows = provider.schemes.to_vec();
                rows[at] = changed;
                let mutant: &'static Provider =
                    Box::leak(Box::new(Provider { schemes: Vec::leak(rows), ..**provider }));
                if all_seen(mutant, &plain, &CLOCKS_S) != before.0 || all_seen(mutant, &derived, &[0]) != before.1 {
                    noticed += 1;
                } else {
                    survivors.insert(format!("{} {} {field}", provider.name, row.id).replace("  ", " "));
                }
            }
        }
    }
    println!("{noticed} changes of rows are noticed, {} are not", survivors.len());
    let known = fs::read_to_string(folder("unnoticed.txt")).unwrap();
    let known: BTreeSet<String> = known.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let new: Vec<&String> = survivors.difference(&known).collect();
    let gone: Vec<&String> = known.difference(&survivors).collect();
    assert!(new.is_empty() && gone.is_empty(), "unnoticed and unknown: {new:#?}\nnoticed by now: {gone:#?}");
}
