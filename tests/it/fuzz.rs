//! Inputs that nobody would send, made of the words of each format and of recorded requests: nothing panics, nothing
//! hangs. `make test` tries 100 of each, `make fuzz CASES=…` as many as asked for.

mod vocabulary;

use std::{
    fs,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

use postern::{
    config::environment::Environment,
    domain::{filter::Filter, json, source::SourceSpec, template::Template, time::Timestamp},
    ingress::{
        Inbound, body,
        gate::Gate,
        mail::{self, MailLimits},
        multipart, providers,
        vectors::Vector,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vectors::{accepted, verdict};
use vocabulary::{CEL, FORM, HEADER, JSON, KEYS, MIME, PARTS, TEMPLATE, VALUES};

/// The longest that one small input may take, in a build without optimisation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

fn config() -> ProptestConfig {
    let cases = Environment::of_process().get("PROPTEST_CASES").and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(100), failure_persistence: None, ..ProptestConfig::default() }
}

/// Runs one input and holds it to the time.
fn timed(what: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    assert!(began.elapsed() < PATIENCE, "{what} took {:?}", began.elapsed());
}

/// Texts made of a format's own words, with bytes that belong nowhere in between.
fn words(vocabulary: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        6 => prop::sample::select(vocabulary).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

/// JSON whose members are called as those of real events, and hold what those never hold.
fn trees() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        4 => prop::sample::select(VALUES).prop_map(str::to_owned),
        1 => words(HEADER).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ];
    let leaf = prop_oneof![
        6 => text.prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let key = prop::sample::select(KEYS).prop_map(str::to_owned);
        prop_oneof![
            3 => prop::collection::vec((key, inner.clone()), 0..8).prop_map(|members| members.into_iter().collect()),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::Array),
        ]
    })
}

/// The sources of all providers, open to anybody: what is parsed is what was made up.
static OPEN: LazyLock<Vec<Gate>> = LazyLock::new(|| {
    let open = |provider: &str| {
        let spec = SourceSpec { provider: provider.to_owned(), insecure: true, ..SourceSpec::default() };
        Gate::new(&spec, "https://h.example/in/x", Vec::new()).unwrap()
    };
    providers::names().into_iter().map(open).collect()
});

/// A recorded request with its source.
struct Recorded {
    vector: Vector,
    gate: Gate,
    /// The same source, open to anybody.
    open: Gate,
}

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let with_gates = |vector: Vector| {
        let spec = SourceSpec { insecure: true, ..vector.spec().unwrap() };
        let open = Gate::new(&spec, &vector.url, Vec::new()).unwrap();
        Recorded { gate: vector.gate().unwrap(), open, vector }
    };
    accepted().into_iter().map(with_gates).collect()
});

static MAILS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail/parse");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mails = files.filter(|path| path.extension().is_some_and(|end| end == "eml"));
    let mails: Vec<_> = mails.map(|path| fs::read(path).unwrap()).filter(|mail| mail.len() < 50_000).collect();
    assert!(!mails.is_empty());
    mails
});

fn read(gate: &Gate, inbound: &Inbound<'_>) {
    let now = Timestamp(1_795_104_000_000);
    let _ = gate.greeting(inbound);
    if let Ok(verified) = gate.verify(inbound, now) {
        let _ = gate.handshake(&verified);
        let _ = gate.parse(&verified, now);
    }
}

fn read_as_all(headers: &[(String, Vec<u8>)], body: &[u8]) {
    for gate in OPEN.iter() {
        for method in ["POST", "GET"] {
            read(gate, &Inbound { method, url: "https://h.example/in/x?a=%&text=b", headers, body });
        }
    }
}

fn typed(content_type: &str) -> Vec<(String, Vec<u8>)> {
    vec![("content-type".to_owned(), content_type.as_bytes().to_vec())]
}

type Holes = Vec<(prop::sample::Index, usize, Vec<u8>)>;

/// Where bytes are cut out, how many, and what is put there.
fn holes(vocabulary: &'static [&'static str]) -> impl Strategy<Value = Holes> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, words(vocabulary)), 1..4)
}

fn cut(raw: &mut Vec<u8>, holes: Holes) {
    for (at, length, text) in holes {
        let at = at.index(raw.len() + 1);
        let end = (at + length).min(raw.len());
        raw.splice(at..end, text);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn mime(raw in words(MIME)) {
        timed("a mail", || drop(mail::read_mime(&raw, &MailLimits::default())));
    }

    #[test]
    fn recorded_mails_with_holes(which in any::<prop::sample::Index>(), holes in holes(MIME)) {
        let mut raw = which.get(&MAILS).clone();
        cut(&mut raw, holes);
        timed("a mail", || drop(mail::read_mime(&raw, &MailLimits::default())));
    }

    #[test]
    fn multipart_bodies(raw in words(PARTS)) {
        timed("a multipart body", || {
            let _ = multipart::read(&raw, "multipart/form-data; boundary=b");
            read_as_all(&typed("multipart/form-data; boundary=b"), &raw);
        });
    }

    #[test]
    fn forms(raw in words(FORM)) {
        timed("a form", || {
            let _ = body::read_urlencoded(&raw);
            read_as_all(&typed("application/x-www-form-urlencoded"), &raw);
        });
    }

    #[test]
    fn signature_headers(
        which in any::<prop::sample::Index>(),
        lines in prop::collection::vec((any::<prop::sample::Index>(), words(HEADER)), 1..4),
    ) {
        let Recorded { vector, gate, .. } = which.get(&RECORDED);
        let mut request = vector.request().unwrap();
        for (at, value) in lines {
            let at = at.index(request.headers.len());
            request.headers[at].1 = value;
        }
        timed("a signature", || drop(verdict(vector, &request, gate)));
    }

    #[test]
    fn recorded_requests_with_holes(which in any::<prop::sample::Index>(), holes in holes(JSON)) {
        let recorded = which.get(&RECORDED);
        let mut request = recorded.vector.request().unwrap();
        cut(&mut request.body, holes);
        timed("a request", || read(&recorded.open, &request.inbound()));
    }

    #[test]
    fn json_texts(raw in words(JSON)) {
        timed("JSON", || {
            let _ = json::read(&raw);
            read_as_all(&typed("application/json"), &raw);
        });
    }

    #[test]
    fn json_events(event in trees()) {
        timed("an event", || read_as_all(&typed("application/json"), event.to_string().as_bytes()));
    }

    #[test]
    fn sns(kind in prop::sample::select(VALUES), (mail, receipt, message) in (trees(), trees(), trees())) {
        let told = json!({ "notificationType": kind, "eventType": kind, "mail": mail, "receipt": receipt,
                           "content": message });
        for text in [told, message] {
            let body = json!({ "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:1:t",
                               "Message": text.to_string() });
            timed("a notification", || read_as_all(&typed("text/plain; charset=UTF-8"), body.to_string().as_bytes()));
        }
    }

    #[test]
    fn cloud_events(events in prop::collection::vec(trees(), 1..4), id in words(HEADER), data in words(FORM)) {
        let mut binary = typed("application/json");
        for name in ["ce-specversion", "ce-type", "ce-source", "ce-time"] {
            binary.push((name.to_owned(), b"1.0".to_vec()));
        }
        binary.push(("ce-id".to_owned(), id));
        timed("events of CloudEvents", || {
            let first = events[0].to_string();
            read_as_all(&typed("application/cloudevents+json"), first.as_bytes());
            read_as_all(&typed("application/cloudevents-batch+json"), Value::Array(events).to_string().as_bytes());
            read_as_all(&binary, &data);
        });
    }

    #[test]
    fn expressions(expression in words(CEL)) {
        timed("an expression", || {
            if let Ok(filter) = Filter::parse(&String::from_utf8_lossy(&expression)) {
                let _ = filter.passes(&view());
            }
        });
    }

    #[test]
    fn templates(template in words(TEMPLATE)) {
        timed("a template", || {
            if let Ok(template) = Template::parse(&String::from_utf8_lossy(&template)) {
                let _ = template.render(&view());
                let _ = template.render_within(&view(), ("<a>", "</a>"), 100);
            }
        });
    }
}

fn view() -> Value {
    json!({ "text": "aaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "kind": "sms", "headers": {"x": "y"},
            "body": {"a": [1, {"x": "é"}], "b": null} })
}
