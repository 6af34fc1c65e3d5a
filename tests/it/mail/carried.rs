//! What a mail carries besides its words: forwarded mails, invitations, reports, Outlook's `winmail.dat`, pictures.

use super::{TEXT, attachment, mail, multipart, read};
use postern::{
    domain::{event::Mailbox, mail::MailSecurity},
    ingress::mail::to_json,
};

const PICTURE: &str =
    "Content-Type: image/png\nContent-ID: <i1@x>\nContent-Disposition: inline; filename=\"chart.png\"\n\nPNG";

fn names(found: &postern::ingress::mail::ReadMail) -> Vec<(&str, Option<&str>)> {
    found.attachments.iter().map(|file| (file.filename.as_str(), file.within.as_deref())).collect()
}

#[test]
fn forwarded_mails_are_opened_three_deep_and_stay_files() {
    let inner = |subject: &str, rest: &str| {
        format!(
            "Content-Type: message/rfc822\n\nFrom: Bob <bob@example.com>\nTo: a@b.c\nDate: Tue, 14 Jan 2025 10:00:00 +0000\nSubject: {subject}\nContent-Type: multipart/mixed; boundary=\"{subject}\"\n\n--{subject}\n\nTEXT {subject}\n--{subject}\n{rest}\n--{subject}--"
        )
    };
    let file = attachment("filename=bill.pdf", "%PDF-1.4");
    let raw = multipart("mixed", &[TEXT, &inner("one", &inner("two", &inner("three", &inner("four", &file))))]);
    let found = read(raw);
    assert_eq!(found.email.text, "HELLO text");
    let mails: Vec<_> =
        found.email.forwarded.iter().map(|mail| (mail.depth, mail.subject.as_str(), mail.text.as_str())).collect();
    assert_eq!(mails, [(1, "one", "TEXT one"), (2, "two", "TEXT two"), (3, "three", "TEXT three")]);
    let first = &found.email.forwarded[0];
    assert_eq!(first.from, [Mailbox { address: "bob@example.com".to_owned(), name: Some("Bob".to_owned()) }]);
    assert_eq!(first.date.unwrap().to_string(), "2025-01-14T10:00:00.000Z");
    assert_eq!(
        (first.file.as_str(), first.attachments.as_slice()),
        ("message.eml", ["message-2.eml".to_owned()].as_slice())
    );
    assert_eq!(
        names(&found),
        [
            ("message.eml", None),
            ("message-2.eml", Some("message.eml")),
            ("message-3.eml", Some("message-2.eml")),
            ("message-4.eml", Some("message-3.eml")),
        ]
    );
    assert_eq!(to_json(&found)["attachments"].as_array().unwrap().len(), 1, "what was taken out is listed apart");
    assert_eq!(to_json(&found)["unpacked"].as_array().unwrap().len(), 3);
}

#[test]
fn files_of_a_forwarded_mail_reach_the_event() {
    let inner = format!(
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{}",
        data_encoding::BASE64
            .encode(multipart("mixed", &[TEXT, &attachment("filename=bill.pdf", "%PDF-1.4")]).as_bytes())
    );
    let found = read(multipart("mixed", &[TEXT, &inner]));
    assert_eq!(names(&found), [("message.eml", None), ("bill.pdf", Some("message.eml"))]);
    assert_eq!(found.attachments[1].bytes, b"%PDF-1.4");
    assert_eq!(found.email.forwarded[0].text, "HELLO text");
}

#[test]
fn invitations_are_read() {
    let calendar = "Content-Type: text/calendar; method=REQUEST; charset=utf-8\n\nBEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:u1\nSUMMARY:Über\n  sicht\nDTSTART:20250114T100000Z\nDTEND:20250114T110000Z\nORGANIZER:mailto:bob@example.com\nEND:VEVENT\nEND:VCALENDAR";
    let found = read(multipart("alternative", &[TEXT, calendar]));
    let [invite] = found.email.invites.as_slice() else { panic!("{:?}", found.email.invites) };
    assert_eq!((invite.method.as_str(), invite.summary.as_str()), ("REQUEST", "Über sicht"));
    assert_eq!(invite.organizer.as_ref().unwrap().address, "bob@example.com");
    assert_eq!(found.attachments[0].filename, "text.ics");
    assert!(invite.describe().contains("When: 2025-01-14T10:00:00Z to 2025-01-14T11:00:00Z"));
}

#[test]
fn delivery_reports_name_the_mail_that_failed() {
    let status = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.com\n\nFinal-Recipient: rfc822; bob@example.com\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 unknown";
    let copy = "Content-Type: message/rfc822\n\nMessage-ID: <d1@ours>\nSubject: Hello\n\nOur text";
    let found = read(multipart("report; report-type=delivery-status", &[TEXT, status, copy]));
    let report = found.email.report.unwrap();
    assert_eq!(report.original_message_id.as_deref(), Some("d1@ours"));
    assert_eq!(report.original_subject.as_deref(), Some("Hello"));
    assert_eq!((report.recipients[0].address.as_str(), report.recipients[0].is_permanent()), ("bob@example.com", true));
    assert!(found.automatic.is_some());
    assert_eq!(read(mail("Subject: x", "x@y.example 550 5.1.1")).email.report, None);
}

#[test]
fn pictures_stand_in_the_text_where_they_stand_in_the_mail() {
    let page = "Content-Type: text/html\n\n<p>See <img src=\"cid:i1@x\"> here</p>";
    assert_eq!(read(multipart("related", &[page, PICTURE])).email.text, "See [image: chart.png] here");
    let plain = "Content-Type: text/plain\n\nSee [cid:i1@x] here";
    assert_eq!(read(multipart("related", &[plain, PICTURE])).email.text, "See [image: chart.png] here");
    let between = read(multipart("mixed", &["\nOne", PICTURE, "\nTwo", PICTURE]));
    assert_eq!(between.email.text, "One\n[image: chart.png]\nTwo");
}

#[test]
fn files_within_the_text_are_taken_out() {
    let found = read(mail("Subject: x", "Hello\nbegin 644 a.txt\n$86)C9```\n`\nend\nBye\n"));
    assert_eq!(found.email.text, "Hello\n[file: a.txt]\nBye");
    assert_eq!(
        (names(&found)[0], found.attachments[0].bytes.as_slice()),
        (("a.txt", Some("text")), b"abcd".as_slice())
    );
}

#[test]
fn signatures_and_encryption_are_noted() {
    let security = |raw: String| read(raw).email.security;
    let signature = "Content-Type: application/pgp-signature; name=signature.asc\n\nx";
    assert_eq!(security(multipart("signed", &[TEXT, signature])), Some(MailSecurity::Signed));
    assert_eq!(
        security(multipart("encrypted", &["Content-Type: application/pgp-encrypted\n\nVersion: 1"])),
        Some(MailSecurity::Encrypted)
    );
    let smime =
        |kind: &str| mail(&format!("Content-Type: application/pkcs7-mime; smime-type={kind}; name=smime.p7m"), "x");
    assert_eq!(security(smime("enveloped-data")), Some(MailSecurity::Encrypted));
    assert_eq!(security(smime("signed-data")), Some(MailSecurity::Signed));
    assert_eq!(security(mail("Subject: x", "-----BEGIN PGP MESSAGE-----\n\nx\n")), Some(MailSecurity::Encrypted));
    assert_eq!(security(mail("Subject: x", "x")), None);
}

#[test]
fn winmail_files_give_their_files_and_their_text() {
    let attribute = |id: u32, data: &[u8]| {
        [&[1][..], &id.to_le_bytes(), &u32::try_from(data.len()).unwrap().to_le_bytes(), data, &[0, 0]].concat()
    };
    let bytes = [
        &[0x78, 0x9f, 0x3e, 0x22, 1, 0][..],
        &attribute(0x0002_800c, b"Text of Outlook\0"),
        &attribute(0x0006_9002, &[0; 14]),
        &attribute(0x0001_8010, b"bill.pdf\0"),
        &attribute(0x0006_800f, b"%PDF-1.4"),
    ]
    .concat();
    let part = format!(
        "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64\n\n{}",
        data_encoding::BASE64.encode(&bytes)
    );
    let found = read(multipart("mixed", &["\n", &part]));
    assert_eq!(found.email.text, "Text of Outlook");
    assert_eq!(names(&found), [("winmail.dat", None), ("bill.pdf", Some("winmail.dat"))]);
    assert_eq!(read(multipart("mixed", &[TEXT, &part])).email.text, "HELLO text");
}

#[test]
fn a_text_beyond_the_limit_is_a_file_besides() {
    let found = read(mail("Subject: x", &"0123456789abcde\n".repeat(100_000)));
    assert!(found.email.text.len() < 1_100_000 && found.email.text.ends_with("full-text.txt]"));
    assert_eq!(
        (found.attachments[0].filename.as_str(), found.attachments[0].bytes.len()),
        ("full-text.txt", 1_700_000)
    );
}
