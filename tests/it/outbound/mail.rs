//! Mail by Mailgun and by SMTP.

use postern::{
    config::settings::{EmailChannel, SmtpSecurity},
    domain::delivery::{Attempt, Message, SentFile},
    outbound::Channels,
};

use super::{
    channels, email, env, golden, golden_header, kind, outgoing,
    receiver::{Receiver, hangs_up, smtp},
};

fn mailgun(url: &str) -> Channels {
    let channel = EmailChannel::Mailgun {
        domain: "mg.acme.example".to_owned(),
        api_key: env("KEY"),
        base_url: Some(format!("{url}/")),
    };
    channels(Some(channel), None, "key-test")
}

fn smtp_channel(port: u16, login: bool) -> Channels {
    let channel = EmailChannel::Smtp {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        security: SmtpSecurity::None,
        username: login.then(|| "postern@mg.acme.example".to_owned()),
        password: login.then(|| env("PASSWORD")),
    };
    channels(Some(channel), None, "pass-word")
}

#[tokio::test]
async fn mailgun_gets_the_request_of_its_own_clients() {
    let receiver = Receiver::start().await;
    receiver.reply(200, &[], r#"{"id":"<dlv_1@mg.acme.example>","message":"Queued. Thank you."}"#);
    let channels = mailgun(&receiver.url);
    let sent = channels.email.send(&outgoing(email(), 1)).await;
    let expected = Attempt::Delivered {
        provider_id: Some("dlv_1@mg.acme.example".to_owned()),
        detail: "200 Queued. Thank you.".to_owned(),
    };
    assert_eq!(sent, expected);
    channels.email.send(&outgoing(email(), 2)).await;

    let golden = golden("/v3/mg.acme.example/messages", "PyPI");
    let seen = receiver.seen();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].uri, format!("{}.mime", golden["path"].as_str().unwrap()));
    assert_eq!(seen[0].header("authorization"), golden_header(&golden, "authorization"));
    assert_eq!(seen[0].body, seen[1].body, "attempts differ");

    let boundary = seen[0].header("content-type").strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
    let body = seen[0].body.clone();
    let stream = futures_util::stream::once(async move { Ok::<_, std::io::Error>(body) });
    let mut form = multer::Multipart::new(stream, boundary);
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.unwrap() {
        let (name, file) = (field.name().unwrap().to_owned(), field.file_name().is_some());
        fields.push((name, file, field.bytes().await.unwrap()));
    }
    assert_eq!((fields[0].0.as_str(), &fields[0].2[..]), ("to", &b"dana@northwind.example"[..]));
    assert_eq!((fields[2].0.as_str(), fields[2].1), ("message", true));
    let mime = mail_parser::MessageParser::default().parse(&fields[2].2).unwrap();
    assert_eq!(mime.subject(), Some("Re: Grüße"));
    assert_eq!(mime.message_id(), Some("dlv_00000000000000000000000001@mg.acme.example"));
}

#[tokio::test]
async fn a_mail_whose_files_are_gone_is_not_sent_without_them() {
    let receiver = Receiver::start().await;
    let mut message = email();
    if let Message::Email(email) = &mut message {
        let (filename, media_type) = ("a.csv".to_owned(), "text/csv".to_owned());
        email.files = vec![SentFile { filename, media_type, size: 3, sha256: String::new() }];
    }
    let mut outgoing = outgoing(message, 1);
    assert_eq!(kind(&mailgun(&receiver.url).email.send(&outgoing).await), "refused");
    outgoing.files = vec![b"a,b".to_vec()];
    receiver.reply(200, &[], "{}");
    assert_eq!(kind(&mailgun(&receiver.url).email.send(&outgoing).await), "delivered");
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    assert!(String::from_utf8_lossy(&seen[0].body).contains("filename=\"a.csv\""));
    let (port, told) = smtp("NOTHING", "").await;
    assert_eq!(kind(&smtp_channel(port, false).email.send(&outgoing).await), "delivered");
    while told.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(told.lock().unwrap()[0].contains("filename=\"a.csv\""));
}

#[tokio::test]
async fn each_status_of_mailgun_has_its_meaning() {
    let receiver = Receiver::start().await;
    let channels = mailgun(&receiver.url);
    let limit = r#"{"message":"recipient limit exceeded, try again after Wed, 18 Nov 2026 11:08:40 +0000"}"#;
    for (status, headers, body, expected) in [
        (200, vec![], "{}", "delivered"),
        (200, vec![], "no json", "delivered"),
        (302, vec![("location", "/x")], "", "refused"),
        (400, vec![], r#"{"message":"to parameter is not a valid address"}"#, "refused"),
        (401, vec![], "Forbidden", "refused"),
        (402, vec![], "", "refused"),
        (403, vec![], "", "refused"),
        (404, vec![], "", "refused"),
        (413, vec![], "", "refused"),
        (429, vec![], limit, "later:120000"),
        (429, vec![("retry-after", "7")], "", "later:7000"),
        (500, vec![], "", "later"),
        (503, vec![("retry-after", "99999999")], "", "later:86400000"),
    ] {
        receiver.reply(status, &headers, body);
        assert_eq!(kind(&channels.email.send(&outgoing(email(), 1)).await), expected, "{status} {body}");
    }
    assert_eq!(receiver.seen().len(), 13, "a redirect was followed");
    let lost = mailgun(&hangs_up().await).email.send(&outgoing(email(), 1)).await;
    assert_eq!(kind(&lost), "later");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_is_sent() {
    let receiver = Receiver::start().await;
    let channels = mailgun(&receiver.url);
    let Message::Email(mut wrong) = email() else { panic!("no email") };
    wrong.to = "dana@northwind.example\r\nBcc: all@evil.example".to_owned();
    assert_eq!(kind(&channels.email.send(&outgoing(Message::Email(wrong), 1)).await), "refused");
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn smtp_gets_the_same_bytes_at_each_attempt() {
    let (port, told) = smtp("NOTHING", "").await;
    let channels = smtp_channel(port, true);
    for attempt in [1, 2] {
        let sent = channels.email.send(&outgoing(email(), attempt)).await;
        let Attempt::Delivered { provider_id, detail } = sent else { panic!("{sent:?}") };
        assert_eq!(provider_id.as_deref(), Some("dlv_00000000000000000000000001@mg.acme.example"));
        assert_eq!(detail, "250 2.0.0 queued as 42");
    }
    while told.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let told = told.lock().unwrap();
    assert_eq!(told[0], told[1]);
    for line in [
        "EHLO mg.acme.example\r\n",
        "MAIL FROM:<support@mg.acme.example>",
        "RCPT TO:<dana@northwind.example>\r\n",
        "Auto-Submitted: auto-replied\r\n",
    ] {
        assert!(told[0].contains(line), "{line} in {}", told[0]);
    }
}

#[tokio::test]
async fn smtp_replies_are_final_from_500_on() {
    for (at, answer, login, expected) in [
        ("CONNECT", "421 busy", false, "later"),
        ("CONNECT", "554 go away", false, "refused"),
        ("AUTH", "535 wrong", true, "refused"),
        ("AUTH", "454 later", true, "later"),
        ("MAIL", "451 later", false, "later"),
        ("MAIL", "552 full", false, "refused"),
        ("RCPT", "450 greylisted", false, "later"),
        ("RCPT", "550 no such user", false, "refused"),
        (".", "452 full", false, "later"),
        (".", "554 spam", false, "refused"),
        ("RCPT", "nonsense", false, "later"),
    ] {
        let (port, _told) = smtp(at, answer).await;
        let sent = smtp_channel(port, login).email.send(&outgoing(email(), 1)).await;
        assert_eq!(kind(&sent), expected, "{at} {answer}: {sent:?}");
        assert!(!format!("{sent:?}").contains("pass-word"));
    }
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(kind(&smtp_channel(unused, false).email.send(&outgoing(email(), 1)).await), "later");
}

#[tokio::test]
async fn smtp_without_starttls_sends_nothing_when_it_is_demanded() {
    let (port, told) = smtp("NOTHING", "").await;
    let channel = EmailChannel::Smtp {
        host: "localhost".to_owned(),
        port: Some(port),
        security: SmtpSecurity::Starttls,
        username: None,
        password: None,
    };
    let sent = channels(Some(channel), None, "x").email.send(&outgoing(email(), 1)).await;
    assert_eq!(kind(&sent), "later", "{sent:?}");
    assert!(told.lock().unwrap().iter().all(|said| !said.contains("MAIL FROM")));
}
