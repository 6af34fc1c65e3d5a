//! What a core reads: verification and parsing of whole requests, and verification beside the bare HMAC over the
//! same bytes.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use postern::{
    clock::Clock,
    crypto::Secret,
    domain::{source::SourceSpec, time::Timestamp},
    ingress::{
        Inbound, LabelledSecret,
        gate::{Gate, Verified},
        mail::{MailLimits, read_mime},
        signing::{self, Draft, FileDraft, HookDraft, MailDraft, MailForm, SignedRequest, Stamp},
    },
};
use serde_json::json;
use sha2::Sha256;

use crate::{
    Scale,
    report::{Report, Target},
};

const URL: &str = "https://postern.example.com/in/a";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A push of GitHub of the size that busy repositories send, in bytes.
const PUSH: usize = 20_000;

pub(crate) fn all(report: &mut Report, scale: Scale) {
    let now = Clock::system().now();
    let push = Sent::new("github", &Draft::Hook(push()), now);
    let form = Sent::new("mailgun", &Draft::Mail(mail(Vec::new())), now);
    let verified = rate(scale, || push.verify(|_| ()));
    let bare = rate(scale, || {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(&push.request.body);
        black_box(mac.finalize().into_bytes());
    });
    report.ratio(
        "verification of a push of 20 KB, time of one",
        (1e6 / verified, "us"),
        (1e6 / bare, "bare HMAC-SHA256"),
        Target::AtMost(1.5),
    );
    for (name, sent) in [("a GitHub push of 20 KB", &push), ("a Mailgun form", &form)] {
        let each = rate(scale, || sent.verify(|verified| drop(black_box(sent.gate.parse(verified, now).unwrap()))));
        report.figure(&format!("verify and parse {name}, one core"), each, "/s", Target::Told);
    }
    let raw = raw_mail();
    let each = rate(scale, || drop(black_box(read_mime(&raw, &MailLimits::default()).unwrap())));
    report.figure("read a raw mail of 1 MB with a file, one core", each, "/s", Target::Told);
}

/// A request with the gate that believes it.
struct Sent {
    gate: Gate,
    request: SignedRequest,
    now: Timestamp,
}

impl Sent {
    fn new(provider: &str, draft: &Draft, now: Timestamp) -> Self {
        let spec = SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() };
        let secret = Secret::new(SECRET);
        let stamp =
            Stamp { url: URL, secret: Some(&secret), key: None, now, unique: "0123456789abcdef0123456789abcdef" };
        let request = signing::sign(&spec, draft, &stamp).unwrap();
        let known = LabelledSecret::new("a", Secret::new(SECRET));
        Self { gate: Gate::new(&spec, URL, vec![known]).unwrap(), request, now }
    }

    fn verify(&self, then: impl FnOnce(&Verified<'_>)) {
        let SignedRequest { headers, body } = &self.request;
        let inbound = Inbound { method: "POST", url: URL, headers, body };
        then(&self.gate.verify(black_box(&inbound), self.now).unwrap());
    }
}

fn push() -> HookDraft {
    let commit = json!({ "id": "6dcb09b5b57875f334f61aebed695e2e4193db5e", "message": "Fix all the bugs\n\nAnd some more",
        "author": { "name": "Monalisa", "email": "octocat@github.example" }, "added": ["a/b.rs"], "removed": [], "modified": ["c"] });
    let mut commits = Vec::new();
    while json!(commits).to_string().len() < PUSH {
        commits.push(commit.clone());
    }
    let repository = json!({ "id": 1, "full_name": "acme/widgets" });
    let body = json!({ "ref": "refs/heads/main", "repository": repository, "sender": {"login": "octocat"}, "commits": commits });
    HookDraft { kind: Some("push".to_owned()), body }
}

fn mail(files: Vec<FileDraft>) -> MailDraft {
    MailDraft {
        from: "Alice <alice@example.com>".to_owned(),
        to: "support@agents.example.com".to_owned(),
        subject: "Numbers of May".to_owned(),
        text: "Hello,\n\nwhat were the numbers of May?\n\nAlice\n".repeat(20),
        in_reply_to: Some("before@example.com".to_owned()),
        files,
        form: MailForm::Parsed,
    }
}

/// A mail with text, HTML and one file, a million bytes as it travels.
fn raw_mail() -> Vec<u8> {
    let file = data_encoding::BASE64.encode(&vec![0xa5; 730_000]);
    let lines: Vec<&str> = file.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "From: Alice <alice@example.com>\r\nTo: support@agents.example.com\r\nSubject: Numbers\r\n\
         Message-ID: <a@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/plain\r\n\r\n{}\r\n\
         --c\r\nContent-Type: text/html\r\n\r\n<p>{}</p>\r\n--c--\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\
         Content-Disposition: attachment; filename=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        "Some text.\r\n".repeat(100),
        "Some <b>text</b>.<br>".repeat(100),
        lines.join("\r\n"),
    )
    .into_bytes()
}

/// How often a second `work` is done on one core.
fn rate(scale: Scale, mut work: impl FnMut()) -> f64 {
    work();
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < scale.time().max(Duration::from_millis(200)) {
        for _ in 0..8 {
            work();
        }
        count += 8;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}
