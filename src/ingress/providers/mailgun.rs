//! Mailgun: routes (parsed, raw MIME, stored) and event webhooks.
//!
//! It signs `timestamp` and `token` alone, neither body nor headers: TLS, and the token that counts once,
//! are what protects the rest. Of repeated fields the last is Mailgun's, since the mail's own headers are
//! posted before it (documentation.mailgun.com, securing webhooks).

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use crate::{
    crypto,
    domain::{
        event::{Attachment, Content, Email, Sender, SenderAuth},
        id::AttachmentId,
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed, StoredFile, StoredMail,
        answer::Replies,
        body::{self, Form, Part},
        gate::Verified,
        mail::{self, MailFields, MailLimits, RawFile, ReadMail},
        providers::{Provider, webhook},
        reading::Reading,
        signature::scheme::{Condition, Scheme, TimeRule, TimeUnit},
    },
};

/// The window spans all retries (8 h): it is not documented whether they are signed anew.
const fn window(source: &'static str) -> Option<TimeRule<'static>> {
    Some(TimeRule { source, unit: TimeUnit::Seconds, past_s: 32_400, future_s: 300 })
}

/// See the module.
pub static MAILGUN: Provider = Provider {
    name: "mailgun",
    schemes: &[
        Scheme {
            when: &[Condition::MediaType(&["application/json"])],
            signature: &["json:/signature/signature"],
            signed: "{json:/signature/timestamp}{json:/signature/token}",
            time: window("json:/signature/timestamp"),
            ids: &["{json:/signature/token}"],
            events: &["json:/event-data/event"],
            ..Scheme::HMAC
        },
        Scheme {
            when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
            signature: &["form:signature"],
            signed: "{form:timestamp}{form:token}",
            time: window("form:timestamp"),
            ids: &["{form:token}"],
            events: &["const:inbound"],
            ..Scheme::HMAC
        },
    ],
    // 406 is the only status besides 200 on which it does not send again.
    replies: Replies { accepted: 200, refused: 406, malformed: 406, ..Replies::STANDARD },
    parse,
    ..Provider::WEBHOOK
};

fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    if !reading.is_form() {
        let event = verified.event().unwrap_or("unknown");
        let content = Content::Webhook(webhook::request(verified)?);
        let mut parsed = webhook::parsed(verified, format!("email.{event}"), content);
        parsed.quiet = Some(format!("a delivery report: {event}"));
        return Ok(parsed);
    }
    let posted = Posted::new(reading)?;
    let read = read_mail(&posted)?;
    let recipient = posted.first("recipient").unwrap_or_default();
    let email = &read.email;
    let mut parsed = webhook::parsed(verified, "email".to_owned(), Content::Email(Email::default()));
    parsed.content_key = email.message_id.as_ref().map(|id| format!("<{id}>|{recipient}"));
    parsed.thread_key = email.references.first().or(email.in_reply_to.first()).or(email.message_id.as_ref()).cloned();
    parsed.sender = sender(email);
    parsed.automatic = read.automatic;
    let mut names = Names::default();
    for mut file in read.attachments {
        file.filename = names.unique(file.filename);
        parsed.attachments.push(attachment(file, at));
    }
    parsed.stored = stored(&posted);
    parsed.content = Content::Email(read.email);
    Ok(parsed)
}

/// A route's form. Every header of the mail is posted as a field too, so a mail can name its headers like
/// Mailgun's own fields: as many of a name as `message-headers` lists are the mail's.
struct Posted<'r> {
    form: &'r Form<'r>,
    headers: Vec<(String, String)>,
    is_parsed: bool,
}

impl<'r> Posted<'r> {
    fn new(reading: &'r Reading<'_>) -> Result<Self, ParseFault> {
        let form = reading.form()?;
        let listed = form.last("message-headers");
        let headers = match listed.and_then(|text| body::read_json(text).ok()) {
            Some(serde_json::Value::Array(pairs)) => pairs.iter().filter_map(header).collect(),
            Some(_) | None => Vec::new(),
        };
        Ok(Self { form, headers, is_parsed: listed.is_some() })
    }

    fn own(&self, name: &str) -> Option<Vec<&'r [u8]>> {
        let fields = self.form.fields().filter(|part| *part.name == *name.as_bytes());
        let all: Vec<&[u8]> = fields.map(|part| &*part.value).collect();
        (all.len() > self.headers.iter().filter(|(header, _)| header == name).count()).then_some(all)
    }

    /// A field that Mailgun posts before the mail's headers.
    fn first(&self, name: &str) -> Option<Cow<'r, str>> {
        self.own(name).and_then(|all| all.first().copied()).map(body::text)
    }

    /// A field that Mailgun posts after the mail's headers.
    fn last(&self, name: &str) -> Option<Cow<'r, str>> {
        self.own(name).and_then(|all| all.last().copied()).map(body::text)
    }

    fn json(&self, name: &str) -> Option<serde_json::Value> {
        self.last(name).and_then(|text| body::read_json(text.as_bytes()).ok())
    }

    /// The message as it was sent, when the route's URL ends in `mime`; a field or a file. A parsed mail has
    /// `message-headers`, and its headers cannot make it a raw one.
    fn raw_mime(&self) -> Option<&'r [u8]> {
        let mut parts = self.form.parts.iter().rev().filter(|_| !self.is_parsed);
        parts.find(|part| *part.name == *b"body-mime").map(|part| &*part.value)
    }
}

/// One `[name, value]` of `message-headers`; a value that is no text counts as empty.
fn header(pair: &serde_json::Value) -> Option<(String, String)> {
    let text = |at: usize| pair.get(at).and_then(serde_json::Value::as_str).map(str::to_owned);
    Some((text(0)?, text(1).unwrap_or_default()))
}

fn read_mail(posted: &Posted<'_>) -> Result<ReadMail, ParseFault> {
    let text = |name: &str| posted.last(name).map(Cow::into_owned);
    let envelope_from = posted.first("sender").map(Cow::into_owned);
    let recipients = posted.first("recipient").unwrap_or_default();
    let envelope_to = recipients.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    if let Some(raw) = posted.raw_mime() {
        let mut read = mail::read_mime(raw, &MailLimits::default())
            .map_err(|fault| ParseFault { code: "malformed_mail", detail: fault.to_string() })?;
        read.email.envelope_from = envelope_from;
        read.email.envelope_to = envelope_to;
        return Ok(read);
    }
    if posted.headers.is_empty() {
        let detail = "neither `message-headers` nor `body-mime` can be read; is this a Mailgun route?";
        return Err(ParseFault { code: "malformed_mail", detail: detail.to_owned() });
    }
    Ok(mail::from_fields(MailFields {
        headers: posted.headers.clone(),
        envelope_from,
        envelope_to,
        text: text("body-plain"),
        html: text("body-html"),
        stripped_text: text("stripped-text"),
        files: files(posted),
    }))
}

/// The files that came along, with the content ids that `content-id-map` gives them.
fn files(posted: &Posted<'_>) -> Vec<RawFile> {
    let map = posted.json("content-id-map");
    let ids: HashMap<&str, &str> = map
        .iter()
        .filter_map(serde_json::Value::as_object)
        .flatten()
        .filter_map(|(id, field)| Some((field.as_str()?, id.trim_matches(['<', '>', ' ']))))
        .filter(|(_, id)| !id.is_empty())
        .collect();
    let file = |part: &Part<'_>| {
        Some(RawFile {
            filename: mail::safe_filename(part.filename.as_deref()?),
            content_type: media_type(part.content_type.as_deref().unwrap_or_default()),
            bytes: part.value.to_vec(),
            content_id: ids.get(&*body::text(&part.name)).map(|id| (*id).to_owned()),
        })
    };
    posted.form.parts.iter().filter_map(file).collect()
}

fn media_type(written: &str) -> String {
    let bare = written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if bare.is_empty() { "application/octet-stream".to_owned() } else { bare }
}

fn attachment(file: RawFile, at: Timestamp) -> (Attachment, Vec<u8>) {
    let attachment = Attachment {
        id: AttachmentId::new(at),
        filename: file.filename,
        content_type: file.content_type,
        size: file.bytes.len() as u64,
        sha256: crypto::sha256_hex(&file.bytes),
        content_id: file.content_id,
    };
    (attachment, file.bytes)
}

/// File names of one mail. A mail may carry thousands of files of one name, so none is counted up twice.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

/// Together with a number they stay below the 255 bytes of a file name.
const LONGEST_STEM: usize = 200;
const LONGEST_EXTENSION: usize = 40;

impl Names {
    /// The name, with a number before its extension where it is taken.
    fn unique(&mut self, name: String) -> String {
        if self.taken.insert(name.clone()) {
            return name;
        }
        let dot = name.rfind('.').filter(|at| *at > 0 && name.len() - at <= LONGEST_EXTENSION);
        let (stem, extension) = dot.map_or((&*name, ""), |at| name.split_at(at));
        let stem = &stem[..stem.floor_char_boundary(LONGEST_STEM)];
        let next = self.next.entry(name.clone()).or_insert(2);
        loop {
            let numbered = format!("{stem}-{next}{extension}");
            *next += 1;
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

/// What a `store(notify=…)` route left at Mailgun. URLs on other hosts are dropped: fetching one would hand
/// them the API key.
fn stored(posted: &Posted<'_>) -> Option<StoredMail> {
    let message_url = posted.last("message-url").filter(|url| is_mailguns(url)).map(Cow::into_owned);
    let listed = posted.json("attachments");
    let file = |value: &serde_json::Value| {
        let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str);
        Some(StoredFile {
            filename: mail::safe_filename(text("name").unwrap_or_default()),
            content_type: media_type(text("content-type").unwrap_or_default()),
            size: value.get("size").and_then(serde_json::Value::as_u64).unwrap_or(0),
            url: text("url").filter(|url| is_mailguns(url))?.to_owned(),
        })
    };
    let files: Vec<StoredFile> = listed
        .as_ref()
        .and_then(serde_json::Value::as_array)
        .map(|all| all.iter().filter_map(file).collect())
        .unwrap_or_default();
    (message_url.is_some() || !files.is_empty()).then_some(StoredMail { message_url, files })
}

fn is_mailguns(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        url.scheme() == "https"
            && url.port().is_none()
            && url.username().is_empty()
            && url.host_str().is_some_and(|host| host.ends_with(".mailgun.net"))
    })
}

/// `X-Mailgun-Spf` and kin are not believed: unless the domain's spam filter writes them, the sender can.
fn sender(email: &Email) -> Option<Sender> {
    let first = email.from.first()?;
    let (auth, auth_reason) = match email.from.len() {
        1 => (SenderAuth::Unknown, "Mailgun does not say whether the sender owns the address"),
        _ => (SenderAuth::Failed, "several senders"),
    };
    Some(Sender { address: first.address.clone(), name: first.name.clone(), auth, auth_reason: auth_reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn files_of_one_name_get_numbers() {
        let mut names = Names::default();
        let given = ["a.txt", "a-2.txt", "a.txt", "a.txt", ".rc", ".rc", "x", "x"];
        let unique: Vec<String> = given.into_iter().map(|name| names.unique(name.to_owned())).collect();
        assert_eq!(unique, ["a.txt", "a-2.txt", "a-3.txt", "a-4.txt", ".rc", ".rc-2", "x", "x-2"]);
    }
}
