//! Mails that are broken at random: none ends the reader, none makes it write without end.

use std::{
    fs,
    path::Path,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use postern::ingress::mail::{MailLimits, read_mime, to_json};
use proptest::prelude::*;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// The reader's own thread turns a panic into a refusal; here it counts.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some("read-mail") {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(panic);
        }));
    });
}

/// Mails of every kind that the readers of parts know.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for folder in ["parse", "auto"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail").join(folder);
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
        paths.sort();
        seeds.extend(paths.iter().map(|path| fs::read(path).unwrap()).filter(|raw| raw.len() < 20_000));
    }
    for kind in ["text/html", "text/calendar", "message/delivery-status", "application/ms-tnef", "message/rfc822"] {
        let body = match kind {
            "text/html" => {
                "<style>.a{display:none}</style><table border=1><tr><th>a<td colspan=2 style='font-size:0'>b</table><ul><li><pre><code>x</code></pre><ol start=9><li><a href='https://e.org/&amp;'>y</a></ol></ul><blockquote>z"
            }
            "text/calendar" => {
                "BEGIN:VEVENT\r\nDTSTART;TZID=\"X\":20250114T100000\r\nDURATION:P1D\r\nATTENDEE;CN=a:mailto:b@c\r\n d\r\nEND:VEVENT\r\n"
            }
            "application/ms-tnef" => "\u{78}\u{9f}>\"",
            _ => "Final-Recipient: rfc822; a@b.c\r\nStatus: 5.1.1\r\n\r\nx",
        };
        seeds.push(format!("From: a@b.c\r\nContent-Type: {kind}\r\n\r\n{body}").into_bytes());
    }
    seeds
}

proptest! {
    #[test]
    fn fuzz_no_mail_ends_the_reader(
        seed in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 0..20),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        count_panics();
        let seeds = seeds();
        let mut raw = seed.get(&seeds).clone();
        for (at, byte, kind) in edits {
            if raw.is_empty() {
                break;
            }
            let at = at.index(raw.len());
            match kind {
                0 => raw[at] = byte,
                1 => raw.insert(at, byte),
                2 => raw.truncate(at.max(raw.len() / 2)),
                _ => {
                    let end = (at + usize::from(byte)).min(raw.len());
                    let copy = raw[at..end].to_vec();
                    raw.extend(copy);
                }
            }
        }
        raw.extend(noise);
        if let Ok(found) = read_mime(&raw, &MailLimits::default()) {
            let written = to_json(&found).to_string().len();
            prop_assert!(written < 100_000 + 40 * raw.len(), "{written} bytes of {}", raw.len());
        }
        prop_assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    }
}
