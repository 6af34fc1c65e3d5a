//! Mails made to break readers. Each is read or refused in a second.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{TEXT, attachment, mail, multipart, try_read};

/// A debug build on a busy machine gets as long as a release build needs for many times the work.
const BOUND: Duration = Duration::from_secs(1);

/// Reads, and says the text or the refusal's code.
fn outcome(name: &str, raw: impl AsRef<[u8]>) -> Result<postern::ingress::mail::ReadMail, &'static str> {
    let (started, worked) = (Instant::now(), processor_time());
    let outcome = try_read(raw).map_err(|fault| fault.code());
    // Others use the processor as well: of both the shorter is nearer to what the mail took.
    let took = started.elapsed().min(processor_time() - worked);
    assert!(took < BOUND, "{name} took {took:?}");
    outcome
}

/// What this process has used of the processors.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap()
}

fn nested(depth: usize) -> String {
    let open: String =
        (0..depth).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    let close: String = (0..depth).rev().map(|n| format!("\n--b{n}--\n")).collect();
    format!("From: a@example.org\nSubject: n\n{open}Content-Type: text/plain\n\nHELLO{close}")
}

fn forwarded(depth: usize, content_type: &str) -> String {
    format!("From: a@example.org\n{}\nHELLO", format!("{content_type}\n\nFrom: b@example.org\n").repeat(depth))
}

#[test]
fn nesting_is_read_while_it_is_sane_and_refused_beyond() {
    assert_eq!(outcome("20 deep", nested(20)).unwrap().email.text, "HELLO");
    for depth in [60, 100, 1000, 10_000] {
        assert_eq!(outcome("nested", nested(depth)).unwrap_err(), "too_deep");
    }
    for depth in [500, 3900, 5000, 25_000, 400_000] {
        assert!(outcome("forwards", forwarded(depth, "Content-Type: message/rfc822")).is_err());
        assert!(outcome("disguised forwards", forwarded(depth, "Content-Type:message(x)/rfc822")).is_err());
    }
    let same = "Content-Type: multipart/mixed; boundary=x\n\n--x\n".repeat(3000);
    assert!(outcome("same boundary", format!("From: a@b.c\n{same}HELLO")).is_err());
}

#[test]
fn a_bomb_in_an_encoded_mail_is_only_a_file() {
    let bomb = forwarded(300_000, "Content-Type: message/rfc822");
    let encoded = data_encoding::BASE64.encode(bomb.as_bytes());
    let part = format!("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{encoded}");
    let found = outcome("encoded bomb", multipart("mixed", &[TEXT, &part])).unwrap();
    assert_eq!(found.email.text, "HELLO text");
    assert!(found.attachments[0].bytes == bomb.as_bytes());
    assert_eq!(found.attachments[0].content_type, "message/rfc822");
}

#[test]
fn great_numbers_are_read_or_refused() {
    let parts = "--b\n\nx\n".repeat(100_000);
    assert_eq!(
        outcome("parts", mail("Content-Type: multipart/mixed; boundary=b", &parts)).unwrap_err(),
        "too_many_parts"
    );
    let refused =
        |name: &str, headers: String| assert_eq!(outcome(name, mail(&headers, "x")).unwrap_err(), "header_too_large");
    refused("headers", "X-H: v\n".repeat(100_000));
    refused("recipients", format!("Cc: {}", "u@example.org, ".repeat(50_000)));
    refused("references", format!("References: {}", "<r@example.org>\n ".repeat(50_000)));
    refused("subject", format!("Subject: {}", "A".repeat(1_000_000)));
    refused("comments", format!("From: {}x{} <a@b.c>", "(".repeat(100_000), ")".repeat(100_000)));
    let many = outcome("froms", mail(&"From: x@example.org\n".repeat(1000), "x")).unwrap();
    assert!(many.email.from.len() > 1 && many.email.from.len() <= 200);
}

#[test]
fn broken_headers_below_the_limits_end_in_time() {
    for (name, header) in [
        ("encoded words", format!("Subject: {}", "=?utf-8?B?w6Q=?=\n ".repeat(3000))),
        ("broken words", format!("Subject: {}{}", "=?utf-8?Q?".repeat(3000), "?=".repeat(3000))),
        ("question marks", format!("Subject: {}", "=?".repeat(30_000))),
        ("comments", format!("From: {}x <a@b.c>", "(".repeat(60_000))),
        ("open quote", format!("From: \"{} <a@b.c>", "A\\".repeat(30_000))),
        ("angles", format!("From: {}a@b.c", "<".repeat(60_000))),
        ("groups", format!("Cc: {}a@b{}", "g:".repeat(20_000), ";".repeat(20_000))),
        ("parameters", format!("Content-Type: text/plain; {}", "p=v; ".repeat(12_000))),
        ("digits", format!("Date: {}", "9".repeat(60_000))),
    ] {
        assert!(outcome(name, mail(&header, "HELLO")).is_ok(), "{name}");
    }
    let segments: String = (0..10_000).map(|n| format!(";\n filename*{n}=\"x\"")).collect();
    let raw = multipart("mixed", &[TEXT, &format!("Content-Disposition: attachment{segments}\n\ndata")]);
    assert!(outcome("name segments", raw).unwrap().attachments[0].filename.len() <= 255);
}

#[test]
fn hostile_html_is_read_in_linear_time() {
    for (name, html) in [
        ("divs", format!("{}HELLO{}", "<div>".repeat(100_000), "</div>".repeat(100_000))),
        ("quotes", format!("<p>HELLO</p>{}q", "<blockquote>".repeat(20_000))),
        ("lists", format!("<p>HELLO</p>{}q", "<ul><li>".repeat(20_000))),
        ("open attributes", format!("<p>HELLO</p>{}", "<a href=\"".repeat(100_000))),
        ("angles", format!("<p>HELLO</p>{}", "<".repeat(1_000_000))),
        ("entities", format!("<p>HELLO {}</p>", "&#x41;".repeat(100_000))),
        ("bad entities", "<p>HELLO &#xFFFFFFFF; &#0; &#55296; &nosuch; &amp</p>".to_owned()),
        ("open comment", format!("<p>HELLO</p><!-- {}", "x".repeat(500_000))),
        ("open scripts", format!("<p>HELLO</p>{}", "<script></scrip".repeat(50_000))),
        ("data", format!("<p>HELLO</p><img src=\"data:image/png;base64,{}\">", "A".repeat(1_000_000))),
        ("table", format!("<p>HELLO</p><table>{}</table>", "<tr><td>x</td><td>y</td></tr>".repeat(20_000))),
        ("hidden", format!("<p>HELLO</p>{}", "<div style='display:none'>".repeat(20_000))),
    ] {
        let text = outcome(name, mail("Content-Type: text/html", &html)).unwrap().email.text;
        assert!(text.contains("HELLO") && !text.contains("base64"), "{name}");
    }
}

#[test]
fn texts_that_hang_reply_parsers_are_read_in_linear_time() {
    for (name, body) in [
        ("quotes", ">".repeat(1_000_000)),
        ("on", "On ".repeat(200_000)),
        ("on lines", "On Tue, Jan 14, 2025 at 9:12 AM someone said\n".repeat(20_000)),
        ("dashes", "-".repeat(1_000_000)),
        ("from", "From: a@b.c\n".repeat(20_000)),
        ("from to date", "From: a@b.c\nDate: 1\nx\n".repeat(10_000)),
        ("spaces", format!("{}x", " ".repeat(1_000_000))),
        ("newlines", format!("{}x", "\n".repeat(300_000))),
        ("nested quotes", (1..2000).map(|n| format!("{} q\n", ">".repeat(n))).collect()),
        ("one line", "word ".repeat(600_000)),
        ("wrote", "wrote: ".repeat(100_000)),
        ("colons", "a@b.c 2025:\n".repeat(30_000)),
        ("digits", format!("{}:", "1".repeat(500_000))),
        ("at signs", "a@".repeat(300_000)),
        ("devices", "Sent from my iPhone\n".repeat(20_000)),
        ("signatures", "--\n".repeat(60_000)),
        ("fences", "```\n".repeat(60_000)),
        ("rules", "________\n".repeat(30_000)),
    ] {
        let found = outcome(name, mail("Content-Type: text/plain", &format!("HELLO reply\n\n{body}"))).unwrap();
        assert!(found.email.new_text.contains("HELLO reply"), "{name}");
    }
}

#[test]
fn large_mails_within_the_limit_are_read() {
    let lines = format!("HELLO\n{}", format!("{}\n", "x".repeat(76)).repeat(100_000));
    assert!(outcome("text", mail("Content-Type: text/plain", &lines)).is_ok());
    let encoded = format!("{}\n", "QUJD".repeat(19)).repeat(150_000);
    let file = format!("Content-Transfer-Encoding: base64\n{}", attachment("filename=big.bin", &encoded));
    let found = outcome("file", multipart("mixed", &[TEXT, &file])).unwrap();
    assert_eq!(found.attachments[0].bytes.len(), 150_000 * 57);
    assert_eq!(outcome("too large", "x".repeat(26 * 1024 * 1024)).unwrap_err(), "too_large");
}

#[test]
fn odd_but_honest_mails_are_read() {
    let plain = mail("Subject: x", "HELLO");
    let log = "POST /upload multipart/form-data message/http\n".repeat(1000);
    for (name, raw) in [
        ("log", mail("Subject: x", &format!("HELLO\n{log}"))),
        ("mbox line", format!("From alice@example.org Tue Jan 14 10:00:00 2025\r\n{plain}")),
        ("byte order mark", format!("\u{feff}{plain}")),
        ("blank lines", format!("\r\n\r\n{plain}")),
        ("bare line feeds", plain.replace("\r\n", "\n")),
        ("garbage type", mail("Content-Type: ;;;///;;=", "HELLO")),
        ("unknown encoding", mail("Content-Transfer-Encoding: x-foo", "HELLO")),
        ("unknown charset", mail("Content-Type: text/plain; charset=x-nope", "HELLO")),
        ("unpadded base64", mail("Content-Transfer-Encoding: base64", "SEVMTE8")),
        ("broken escapes", mail("Content-Transfer-Encoding: quoted-printable", "HELLO =ZZ =4 = =\n=3D=\n")),
    ] {
        assert!(outcome(name, &raw).unwrap().email.text.starts_with("HELLO"), "{name}");
    }
}
