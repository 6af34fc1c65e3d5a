//! The same mail through every carrier: one `Email` comes out.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use postern::{
    domain::{
        event::{Attachment, Content, Email, Mailbox},
        source::SourceSpec,
        time::Timestamp,
    },
    ingress::{
        Inbound, Parsed,
        gate::Gate,
        mail::{MailLimits, ReadMail, read_mime},
    },
};
use serde_json::{Value, json};

/// A mail as it was sent, with its envelope.
struct Sent {
    raw: Vec<u8>,
    from: &'static str,
    to: &'static str,
}

impl Sent {
    fn read(&self) -> ReadMail {
        read_mime(&self.raw, &MailLimits::default()).unwrap().with_envelope(Some(self.from), &[self.to.to_owned()])
    }

    /// Header lines as providers list them: unfolded, still encoded.
    fn headers(&self) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(&self.raw).into_owned();
        let block = text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
        let line = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        block.split("\r\n").filter_map(line).collect()
    }

    fn crlf(&self) -> String {
        self.read().email.text.replace('\n', "\r\n")
    }
}

/// Mails of several kinds: encoded words, several parts, inline pictures, replies, machines, bounces.
fn sent() -> Vec<Sent> {
    let plain = "From: Dana Whitfield <dana@northwind.example>\r\nTo: Support <support@agents.example>, other@x.example\r\n\
        Cc: =?utf-8?q?J=C3=B6rg?= <joerg@x.example>\r\nReply-To: desk@northwind.example\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?= Nr.\r\n 7\r\n\
        Date: Thu, 19 Nov 2026 15:59:00 -0000\r\nMessage-ID: <one@mail.northwind.example>\r\n\
        In-Reply-To: <b@agents.example>\r\nReferences: <a@mail.northwind.example>\r\n <b@agents.example>\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Bitte neu starten – danke.\r\n\r\nOn Thu, Nov 19, 2026 at 9:15 AM Support <support@agents.example> wrote:\r\n\r\n> We see it.\r\n";
    let parts = "From: \"Whitfield, Dana \\\"D\\\"\" <dana@northwind.example>\r\nTo: support@agents.example\r\nSubject: Files\r\n\
        Date: Thu, 19 Nov 2026 15:59:00 -0000\r\nMessage-ID: <two@mail.northwind.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=M\r\n\r\n--M\r\nContent-Type: multipart/alternative; boundary=A\r\n\r\n\
        --A\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n\
        --A\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Gr\u{fc}\u{df}e <img src=\"cid:pic1\"></p>\r\n--A--\r\n\
        --M\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename*=utf-8''Aufstellung-%C3%A4.csv\r\n\
        Content-Transfer-Encoding: base64\r\n\r\naWQ7bmFtZQoxO1pvw6sK\r\n\
        --M\r\nContent-Type: image/png; name=pic.png\r\nContent-Disposition: inline; filename=pic.png\r\nContent-ID: <pic1>\r\n\
        Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--M--\r\n";
    let html = "From: dana@northwind.example\r\nTo: support@agents.example\r\nSubject: html\r\nMessage-ID: <three@x.example>\r\n\
        Date: Thu, 19 Nov 2026 15:59:00 -0000\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>One</p><p>Two</p>\r\n";
    let away = "From: dana@northwind.example\r\nTo: support@agents.example\r\nSubject: Away\r\nMessage-ID: <four@x.example>\r\n\
        Auto-Submitted: auto-replied\r\nContent-Type: text/plain\r\n\r\nI am away.\r\n";
    let of = |raw: &str, from| Sent { raw: raw.as_bytes().to_vec(), from, to: "support@agents.example" };
    vec![
        of(plain, "bounces+dana@mailer.northwind.example"),
        of(parts, "dana@northwind.example"),
        of(html, "dana@northwind.example"),
        of(away, "dana@northwind.example"),
        of(html, ""),
    ]
}

fn post(provider: &str, headers: &[(&str, String)], body: &[u8]) -> Parsed {
    let spec = SourceSpec { provider: provider.to_owned(), insecure: true, ..SourceSpec::default() };
    let gate = Gate::new(&spec, "https://postern.example/in/a", Vec::new()).unwrap();
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes())).collect();
    let request = Inbound { method: "POST", url: "https://postern.example/in/a", headers: &headers, body };
    let verified = gate.verify(&request, Timestamp(0)).unwrap();
    gate.parse(&verified, Timestamp(0)).unwrap_or_else(|fault| panic!("{provider}: {fault}"))
}

/// Fields and files of a form.
#[derive(Default)]
struct Multipart(Vec<u8>);

impl Multipart {
    fn field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.part(&format!("name=\"{name}\""), "", value.as_ref());
    }

    fn part(&mut self, disposition: &str, content_type: &str, value: &[u8]) {
        let head = format!("--xYz\r\nContent-Disposition: form-data; {disposition}\r\n{content_type}\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    fn post(mut self, provider: &str) -> Parsed {
        self.0.extend_from_slice(b"--xYz--\r\n");
        post(provider, &[("content-type", "multipart/form-data; boundary=xYz".to_owned())], &self.0)
    }
}

fn mailgun_parsed(sent: &Sent) -> Parsed {
    let (read, headers, mut form) = (sent.read(), sent.headers(), Multipart::default());
    form.field("recipient", sent.to);
    form.field("sender", sent.from);
    for (name, value) in &headers {
        form.field(name, value);
    }
    form.field("message-headers", json!(headers).to_string());
    let mut ids = serde_json::Map::new();
    for (at, file) in read.attachments.iter().enumerate() {
        let field = format!("attachment-{}", at + 1);
        let disposition = format!("name=\"{field}\"; filename=\"{}\"", file.filename);
        form.part(&disposition, &format!("Content-Type: {}\r\n", file.content_type), &file.bytes);
        if let Some(id) = &file.content_id {
            ids.insert(format!("<{id}>"), json!(field));
        }
    }
    form.field("content-id-map", Value::Object(ids).to_string());
    if let Some(html) = &read.email.html {
        form.field("body-html", html);
    }
    if read.email.html.is_none() || read.attachments.len() > 1 {
        form.field("body-plain", sent.crlf());
    }
    form.post("mailgun")
}

fn mailgun_raw(sent: &Sent) -> Parsed {
    let mut form = Multipart::default();
    form.field("recipient", sent.to);
    form.field("sender", sent.from);
    form.field("body-mime", &sent.raw);
    form.post("mailgun")
}

fn sendgrid_form(sent: &Sent) -> Multipart {
    let mut form = Multipart::default();
    form.field("envelope", json!({"to": [sent.to], "from": sent.from}).to_string());
    form.field("SPF", "pass");
    form.field("sender_ip", "203.0.113.24");
    form
}

fn sendgrid_fields(sent: &Sent) -> Parsed {
    let (read, mut form) = (sent.read(), sendgrid_form(sent));
    let raw = String::from_utf8_lossy(&sent.raw).into_owned();
    form.field("headers", format!("{}\r\n", raw.split("\r\n\r\n").next().unwrap()).replace("\r\n", "\n"));
    form.field("subject", &read.email.subject);
    let has_text = read.email.html.is_none() || read.attachments.len() > 1;
    if has_text {
        // Latin text stays as it was sent, and `charsets` says so.
        let latin: Option<Vec<u8>> = read.email.text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        form.field("text", latin.clone().unwrap_or_else(|| sent.crlf().into_bytes()));
        let charset = if latin.is_some() { "iso-8859-1" } else { "UTF-8" };
        form.field("charsets", json!({"text": charset, "html": "utf-8", "subject": "UTF-8"}).to_string());
    }
    if let Some(html) = &read.email.html {
        form.field("html", html);
    }
    let (mut about, mut ids) = (serde_json::Map::new(), serde_json::Map::new());
    for (at, file) in read.attachments.iter().enumerate() {
        let field = format!("attachment{}", at + 1);
        let mut info = json!({"filename": file.filename, "name": file.filename, "type": file.content_type});
        if let Some(id) = &file.content_id {
            info["content-id"] = json!(id);
            ids.insert(id.clone(), json!(field));
        }
        form.part(
            &format!("name=\"{field}\"; filename=\"x\""),
            &format!("Content-Type: {}\r\n", file.content_type),
            &file.bytes,
        );
        about.insert(field, info);
    }
    form.field("attachments", read.attachments.len().to_string());
    form.field("attachment-info", Value::Object(about).to_string());
    form.field("content-ids", Value::Object(ids).to_string());
    form.post("sendgrid")
}

fn sendgrid_raw(sent: &Sent) -> Parsed {
    let mut form = sendgrid_form(sent);
    form.field("email", &sent.raw);
    form.post("sendgrid")
}

fn postmark_body(sent: &Sent) -> Value {
    let email = sent.read().email;
    let full = |boxes: &[Mailbox]| -> Value {
        let one = |one: &Mailbox| json!({"Email": one.address, "Name": one.name.clone().unwrap_or_default(), "MailboxHash": ""});
        boxes.iter().map(one).collect()
    };
    let own = ["From", "To", "Cc", "Subject", "Date", "Reply-To"];
    let mut headers = vec![json!({"Name": "Return-Path", "Value": format!("<{}>", sent.from)})];
    let others = sent.headers().into_iter().filter(|(name, _)| !own.contains(&name.as_str()));
    headers.extend(others.map(|(name, value)| json!({"Name": name, "Value": value})));
    let date = sent.headers().into_iter().find(|(name, _)| name == "Date").map(|(_, value)| value);
    json!({
        "FromFull": full(&email.from)[0], "From": email.from[0].address, "ToFull": full(&email.to), "CcFull": full(&email.cc),
        "Subject": email.subject, "Date": date.unwrap_or_default(), "MessageID": "22c74902-a0c1-4511-804f-efa1f375d761",
        "ReplyTo": email.reply_to.first().map(|one| one.address.clone()).unwrap_or_default(),
        "OriginalRecipient": sent.to, "Headers": headers, "StrippedTextReply": "",
    })
}

fn postmark_fields(sent: &Sent) -> Parsed {
    let (read, mut body) = (sent.read(), postmark_body(sent));
    let has_text = read.email.html.is_none() || read.attachments.len() > 1;
    body["TextBody"] = json!(if has_text { sent.crlf() } else { String::new() });
    body["HtmlBody"] = json!(read.email.html.clone().unwrap_or_default());
    let file = |file: &postern::ingress::mail::RawFile| {
        json!({"Name": file.filename, "ContentType": file.content_type, "ContentLength": file.bytes.len(),
               "Content": BASE64.encode(&file.bytes), "ContentID": file.content_id.clone().unwrap_or_default()})
    };
    body["Attachments"] = read.attachments.iter().map(file).collect();
    post("postmark", &[("content-type", "application/json".to_owned())], body.to_string().as_bytes())
}

fn postmark_raw(sent: &Sent) -> Parsed {
    let mut body = postmark_body(sent);
    body["RawEmail"] = json!(String::from_utf8_lossy(&sent.raw));
    post("postmark", &[("content-type", "application/json".to_owned())], body.to_string().as_bytes())
}

fn ses(sent: &Sent, action: &Value, content: Option<String>) -> Parsed {
    let headers: Vec<Value> =
        sent.headers().into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let mut message = json!({
        "notificationType": "Received",
        "mail": {"source": sent.from, "messageId": "ses-1", "destination": [sent.to], "headers": headers},
        "receipt": {"recipients": [sent.to], "spfVerdict": {"status": "PASS"}, "virusVerdict": {"status": "PASS"}, "action": action},
    });
    if let Some(content) = content {
        message["content"] = json!(content);
    }
    let body = json!({
        "Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:eu-west-1:111122223333:in",
        "Message": message.to_string(), "Timestamp": "2026-11-19T15:59:56.417Z",
    });
    post("aws_sns", &[("content-type", "text/plain; charset=UTF-8".to_owned())], body.to_string().as_bytes())
}

fn ses_base64(sent: &Sent) -> Parsed {
    ses(sent, &json!({"type": "SNS", "encoding": "BASE64"}), Some(BASE64.encode(&sent.raw)))
}

fn ses_utf8(sent: &Sent) -> Parsed {
    let text = String::from_utf8(sent.raw.clone()).unwrap();
    ses(sent, &json!({"type": "SNS", "encoding": "UTF-8"}), Some(text))
}

fn raw(provider: &str, sent: &Sent) -> Parsed {
    let headers = [
        ("content-type", "message/rfc822".to_owned()),
        ("x-envelope-from", sent.from.to_owned()),
        ("x-envelope-to", sent.to.to_owned()),
    ];
    post(provider, &headers, &sent.raw)
}

/// Name, type, content id and hash of a file.
type FileFacts = (String, String, Option<String>, String);

/// What must not differ: not the list of headers, of which each carrier shows another part.
#[derive(Debug, PartialEq)]
struct Essence {
    email: Email,
    files: Vec<FileFacts>,
    keys: [Option<String>; 4],
}

fn essence(parsed: Parsed) -> Essence {
    let Content::Email(email) = parsed.content else { panic!("no mail") };
    let facts = |(file, bytes): (Attachment, Vec<u8>)| {
        assert_eq!(file.size, bytes.len() as u64);
        (file.filename, file.content_type, file.content_id, file.sha256)
    };
    Essence {
        email: Email { headers: Vec::new(), provider: BTreeMap::new(), ..email },
        files: parsed.attachments.into_iter().map(facts).collect(),
        keys: [parsed.content_key, parsed.thread_key, parsed.automatic, parsed.sender.map(|sender| sender.address)],
    }
}

type Carrier = (&'static str, fn(&Sent) -> Parsed);

const CARRIERS: [Carrier; 8] = [
    ("mailgun parsed", mailgun_parsed),
    ("mailgun raw", mailgun_raw),
    ("sendgrid fields", sendgrid_fields),
    ("sendgrid raw", sendgrid_raw),
    ("postmark fields", postmark_fields),
    ("postmark raw", postmark_raw),
    ("ses base64", ses_base64),
    ("ses utf-8", ses_utf8),
];

#[test]
fn the_same_mail_is_the_same_event_whoever_carries_it() {
    let mut faults = Vec::new();
    for (number, sent) in sent().iter().enumerate() {
        let wanted = essence(raw("cloudflare_email", sent));
        assert_eq!(
            (&wanted.email.message_id, wanted.files.len()),
            (&sent.read().email.message_id, sent.read().attachments.len())
        );
        for (name, carry) in CARRIERS {
            let found = essence(carry(sent));
            if found != wanted {
                faults.push(format!("mail {number}, {name}:\n{found:#?}\nexpected\n{wanted:#?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
