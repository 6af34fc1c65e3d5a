use super::{TEXT, attachment, mail, multipart, read, try_read};
use postern::{
    domain::event::{Email, Mailbox},
    ingress::mail::{MailFields, MailLimits, RawFile, from_fields, read_mime},
};

fn addresses(boxes: &[Mailbox]) -> Vec<&str> {
    boxes.iter().map(|mailbox| mailbox.address.as_str()).collect()
}

#[test]
fn every_from_header_is_kept_so_that_none_is_trusted_alone() {
    let twice = "From: CEO <ceo@Corp.Example>\nFrom: Evil <evil@evil.example>\n";
    assert_eq!(addresses(&read(mail(twice, "x")).email.from), ["ceo@corp.example", "evil@evil.example"]);
    let named = "From: \"ceo@corp.example\" <evil@evil.example>\n";
    assert_eq!(addresses(&read(mail(named, "x")).email.from), ["evil@evil.example"]);
}

#[test]
fn a_cut_off_multipart_still_has_its_text() {
    let whole = multipart("mixed", &[TEXT]);
    let cut = whole.strip_suffix("--b--\r\n").unwrap();
    let found = read(cut);
    assert_eq!(found.email.text, "HELLO text");
    assert!(found.attachments.is_empty());
    for header in ["Content-Type: multipart/mixed", "Content-Type: multipart/mixed; boundary=zz", "Content-Type: text"]
    {
        assert_eq!(read(mail(header, "HELLO text\n")).email.text, "HELLO text", "{header}");
    }
}

#[test]
fn a_blank_text_part_does_not_hide_the_html() {
    let found =
        read(multipart("alternative", &["Content-Type: text/plain\n\n \n", "Content-Type: text/html\n\n<p>HELLO</p>"]));
    assert_eq!(found.email.text, "HELLO");
    assert_eq!(found.email.new_text, "HELLO");
    assert!(found.email.html.unwrap().contains("<p>"));
}

#[test]
fn text_attachments_keep_their_bytes() {
    let raw = multipart(
        "mixed",
        &[
            TEXT,
            "Content-Type: text/plain; charset=iso-8859-2\nContent-Disposition: attachment; filename=a.txt\nContent-Transfer-Encoding: quoted-printable\n\n=B1=E6=\n=EA",
        ],
    );
    assert_eq!(read(raw).attachments[0].bytes, b"\xb1\xe6\xea");
    let raw = multipart(
        "mixed",
        &[TEXT, "Content-Type: text/csv; charset=utf-16; name=b.csv\nContent-Transfer-Encoding: base64\n\n//5hAA=="],
    );
    assert_eq!(read(raw).attachments[0].bytes, b"\xff\xfea\0");
}

#[test]
fn names_in_segments_are_joined_before_they_are_decoded() {
    let parameters = "filename*0*=utf-8''%C3%9Cber%C3;\n filename*1*=%BC;\n filename*2=\" sicht.pdf\"";
    let found = read(multipart("mixed", &[TEXT, &attachment(parameters, "data")]));
    assert_eq!(found.attachments[0].filename, "Überü sicht.pdf");
    let found = read(multipart("mixed", &[TEXT, &attachment("filename=\"=?utf-8?Q?=C3=9Cber.pdf?=\"", "data")]));
    assert_eq!(found.attachments[0].filename, "Über.pdf");
}

#[test]
fn control_characters_do_not_leave_encoded_words() {
    let headers = "From: =?utf-8?Q?Alice=0D=0ABcc:_v@example.org?= <alice@example.org>\nSubject: =?utf-8?Q?Hi=0D=0ABcc:_x=00=1B[31m=E2=80=AE?=";
    let email = read(mail(headers, "a\0b\u{1b}[31m \u{202e}c\n")).email;
    assert_eq!(email.subject, "Hi Bcc: x[31m");
    assert_eq!(email.from[0].name.as_deref(), Some("Alice Bcc: v@example.org"));
    assert_eq!(email.text, "ab[31m c");
    assert!(email.headers.iter().all(|(name, value)| !format!("{name}{value}").contains(char::is_control)));
}

#[test]
fn hostile_names_of_files_are_made_safe_and_unique() {
    let evil = attachment("filename=\"../../etc/passwd\"", "data");
    let found = read(multipart("mixed", &[TEXT, &evil, &evil, &attachment("filename*=utf-8''a%0D%0A%00.exe", "data")]));
    let names: Vec<_> = found.attachments.iter().map(|file| file.filename.as_str()).collect();
    assert_eq!(names, ["passwd", "passwd-2", "a .exe"]);
}

#[test]
fn html_becomes_text_with_its_lines() {
    let html = "<div>l1</div><div>l2</div><ul><li>one</li><li>two</li></ul><div style='display:none'>HIDDEN</div>";
    assert_eq!(read(mail("Content-Type: text/html", html)).email.text, "l1\nl2\n\n- one\n- two");
}

#[test]
fn undeclared_eight_bit_text_is_utf8_or_windows_1252() {
    assert_eq!(read(mail("Subject: Grüße\nContent-Type: text/plain; charset=us-ascii", "Grüße")).email.text, "Grüße");
    let mut raw = mail("Subject: x\nX-Note: a", "").into_bytes();
    raw.extend_from_slice(b"Gr\xfc\xdfe \x80");
    assert_eq!(read(raw).email.text, "Grüße €");
}

#[test]
fn a_forwarded_mail_is_a_file() {
    let inner = "Content-Type: message/rfc822\n\nFrom: bob@example.com\nSubject: inner\n\nINNER\n";
    let found = read(multipart("mixed", &[TEXT, inner]));
    assert_eq!(found.email.text, "HELLO text");
    assert_eq!(
        (found.attachments[0].filename.as_str(), found.attachments[0].content_type.as_str()),
        ("message.eml", "message/rfc822")
    );
    assert!(String::from_utf8_lossy(&found.attachments[0].bytes).contains("INNER"));
}

#[test]
fn ids_dates_and_references_are_read_in_order() {
    let headers = "In-Reply-To: <b@x>\nReferences: <a@x>\n <b@x>\nDate: Tue, 14 Jan 2025 10:00:00 +0100\nReturn-Path: <Alice@Example.ORG>";
    let email = read(mail(headers, "x")).email;
    assert_eq!(email.message_id.as_deref(), Some("h1@example.org"));
    assert_eq!(
        (email.in_reply_to, email.references),
        (vec!["b@x".to_owned()], vec!["a@x".to_owned(), "b@x".to_owned()])
    );
    assert_eq!(email.date.unwrap().to_string(), "2025-01-14T09:00:00.000Z");
    assert_eq!(email.envelope_from.as_deref(), Some("Alice@example.org"));
}

#[test]
fn equal_mail_is_equal_whether_raw_or_in_fields() {
    let raw = mail(
        "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nCc: B <b@Example.org>\nContent-Type: text/plain",
        "Yes.\n\nOn 14 Jan 2025 9:12, A wrote:\n> q\n",
    );
    let parsed: Email = read(&raw).email;
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    let headers = head
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut fields = MailFields { headers: headers.collect(), text: Some(body.to_owned()), ..MailFields::default() };
    assert_eq!(from_fields(fields.clone()).email, parsed);
    assert_eq!(parsed.new_text, "Yes.");

    fields.envelope_from = Some(String::new());
    fields.files = vec![RawFile { filename: "../a".to_owned(), ..RawFile::default() }; 2];
    let bounced = from_fields(fields);
    assert!(bounced.automatic.unwrap().contains("envelope sender"));
    assert_eq!((bounced.attachments[0].filename.as_str(), bounced.attachments[1].filename.as_str()), ("a", "a-2"));
}

#[test]
fn outlooks_wish_for_silence_does_not_make_a_person_a_machine() {
    assert_eq!(read(mail("X-Auto-Response-Suppress: All\nAuto-Submitted: no", "x")).automatic, None);
    assert_eq!(read(mail("Subject: Automatic reply feature is broken", "x")).automatic, None);
    assert_eq!(read(mail("Subject: Re: Automatic reply: away", "x")).automatic, None);
    for header in [
        "Auto-Submitted: auto-replied (vacation)",
        "Precedence: bulk",
        "List-Id: <a.b>",
        "X-Apple-Action: VACATION",
        "Subject: Automatische Antwort: weg",
        "Return-Path: <>",
        "From: mailer-daemon@x.example",
        "Content-Type: multipart/report; boundary=b",
    ] {
        assert!(read(mail(header, "x")).automatic.is_some(), "{header}");
    }
}

#[test]
fn limits_refuse_with_a_stable_code() {
    let limits = MailLimits { raw_bytes: 300, header_line_bytes: 100, header_bytes: 200, ..MailLimits::default() };
    let code = |raw: String| read_mime(raw.as_bytes(), &limits).map(|_| ()).map_err(|fault| fault.code());
    assert_eq!(code(mail("Subject: x", &"x".repeat(300))), Err("too_large"));
    assert_eq!(code(mail(&format!("Subject: {}", "x".repeat(100)), "x")), Err("header_too_large"));
    assert_eq!(try_read("").unwrap_err().code(), "unreadable");
    let parts = vec!["\nx"; 1001];
    assert_eq!(try_read(multipart("mixed", &parts)).unwrap_err().code(), "too_many_parts");
}
