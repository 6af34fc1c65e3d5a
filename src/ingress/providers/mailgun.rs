//! Mailgun: routes (parsed, raw MIME, stored) and event webhooks.
//!
//! It signs `timestamp` and `token` alone, neither body nor headers: TLS, and the token that counts once,
//! are what protects the rest. Of repeated fields the last is Mailgun's, since the mail's own headers are
//! posted before it (documentation.mailgun.com, securing webhooks).

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use crate::{
    domain::{
        fetch::{Stays, StoredFile, StoredMail},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        answer::Replies,
        body::{self, Form, Part},
        gate::Verified,
        mail::{MailFields, RawFile, ReadMail, from_fields, identity::results, safe_filename},
        providers::{Provider, mail, mail_events},
        reading::Reading,
        signature::scheme::{Condition, Scheme, TimeRule},
    },
};

/// 9 h span all retries: it is not documented whether they are signed anew.
const RETRIES_S: i64 = 32_400;

/// See the module.
pub static MAILGUN: Provider = Provider {
    name: "mailgun",
    secret: "HTTP webhook signing key (not the API key)",
    schemes: &[
        Scheme {
            id: "event",
            when: &[Condition::MediaType(&["application/json"])],
            signature: &["json:/signature/signature"],
            signed: "{json:/signature/timestamp}{json:/signature/token}",
            time: TimeRule::spanning("json:/signature/timestamp", RETRIES_S),
            ids: &["{json:/signature/token}"],
            events: &["json:/event-data/event"],
            ..Scheme::HMAC
        },
        Scheme {
            id: "route",
            when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
            signature: &["form:signature"],
            signed: "{form:timestamp}{form:token}",
            time: TimeRule::spanning("form:timestamp", RETRIES_S),
            ids: &["{form:token}"],
            events: &["const:inbound"],
            ..Scheme::HMAC
        },
    ],
    // 406 is the only status besides 200 on which it does not send again.
    replies: Replies { malformed: 406, ..Replies::accepting(200).refusing(406) },
    parse,
    ..Provider::WEBHOOK
};

fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    if !reading.is_form() {
        return match (verified.event(), reading.json()) {
            (Some("stored"), Ok(event)) => Ok(stored_event(verified, event, at)),
            (event, body) => {
                let mut parsed = mail::report(verified, event.unwrap_or("unknown"))?;
                if let Ok(event) = body {
                    mail_events::mailgun(event, verified, &mut parsed.effects);
                }
                Ok(parsed)
            }
        };
    }
    let posted = Posted::new(reading)?;
    let read = read_mail(&posted)?;
    let untrusted = results::mailgun(&read.email);
    let mut parsed = mail::event(verified, read, at);
    parsed.evidence.untrusted.extend(untrusted);
    parsed.stored = stored(&posted).map(Stays::Mail);
    Ok(parsed)
}

/// A `stored` event: the mail's main headers, and where the mail is.
fn stored_event(verified: &Verified<'_>, event: &Value, at: Timestamp) -> Parsed {
    let field = |pointer: &str| mail::text(event, pointer).map(str::to_owned);
    let header = |name: &str, key: &str| Some((name.to_owned(), field(&format!("/event-data/message/headers/{key}"))?));
    let mut headers: Vec<(String, String)> =
        ["From", "To", "Subject"].iter().filter_map(|name| header(name, &name.to_ascii_lowercase())).collect();
    // It comes without its brackets.
    headers.extend(header("Message-ID", "message-id"));
    let mut envelope_to = mail::texts(event, "/event-data/message/recipients");
    envelope_to.extend(field("/event-data/recipient").filter(|one| !envelope_to.contains(one)));
    let envelope_from = field("/event-data/envelope/sender");
    let read = from_fields(MailFields { headers, envelope_from, envelope_to, ..MailFields::default() });
    let mut parsed = mail::event(verified, read, at);
    let url = field("/event-data/storage/url").filter(|url| is_mailguns(url));
    parsed.stored = url.map(|url| Stays::Mail(StoredMail { message_url: Some(url), ..StoredMail::default() }));
    parsed
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
            Some(Value::Array(pairs)) => pairs.iter().filter_map(header).collect(),
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

    fn json(&self, name: &str) -> Option<Value> {
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
fn header(pair: &Value) -> Option<(String, String)> {
    let text = |at: usize| pair.get(at).and_then(Value::as_str).map(str::to_owned);
    Some((text(0)?, text(1).unwrap_or_default()))
}

fn read_mail(posted: &Posted<'_>) -> Result<ReadMail, ParseFault> {
    let text = |name: &str| posted.last(name).map(Cow::into_owned);
    let envelope_from = posted.first("sender");
    let envelope_to = mail::address_list(&posted.first("recipient").unwrap_or_default());
    if let Some(raw) = posted.raw_mime() {
        return Ok(mail::read_raw(raw)?.with_envelope(envelope_from.as_deref(), &envelope_to));
    }
    if posted.headers.is_empty() {
        let detail = "neither `message-headers` nor `body-mime` can be read; is this a Mailgun route?";
        return Err(ParseFault { code: "malformed_mail", detail: detail.to_owned() });
    }
    Ok(from_fields(MailFields {
        headers: posted.headers.clone(),
        envelope_from: envelope_from.map(Cow::into_owned),
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
        .filter_map(Value::as_object)
        .flatten()
        .filter_map(|(id, field)| Some((field.as_str()?, id.trim_matches(['<', '>', ' ']))))
        .filter(|(_, id)| !id.is_empty())
        .collect();
    let file = |part: &Part<'_>| {
        Some(RawFile {
            filename: safe_filename(part.filename.as_deref()?),
            content_type: mail::media_type(part.content_type.as_deref().unwrap_or_default()),
            bytes: part.value.to_vec(),
            content_id: ids.get(&*body::text(&part.name)).map(|id| (*id).to_owned()),
            within: None,
        })
    };
    posted.form.parts.iter().filter_map(file).collect()
}

/// What a `store(notify=…)` route left at Mailgun. URLs on other hosts are dropped: fetching one would hand
/// them the API key. A mail that came raw, or with its files, came whole.
fn stored(posted: &Posted<'_>) -> Option<StoredMail> {
    if posted.raw_mime().is_some() || posted.form.parts.iter().any(|part| part.filename.is_some()) {
        return None;
    }
    let message_url = posted.last("message-url").filter(|url| is_mailguns(url)).map(Cow::into_owned);
    let listed = posted.json("attachments");
    let file = |value: &Value| {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        Some(StoredFile {
            filename: safe_filename(text("name").unwrap_or_default()),
            content_type: mail::media_type(text("content-type").unwrap_or_default()),
            size: value.get("size").and_then(Value::as_u64).unwrap_or(0),
            url: text("url").filter(|url| is_mailguns(url))?.to_owned(),
        })
    };
    let files: Vec<StoredFile> =
        listed.as_ref().and_then(Value::as_array).map(|all| all.iter().filter_map(file).collect()).unwrap_or_default();
    (message_url.is_some() || !files.is_empty()).then_some(StoredMail { message_url, files, object: None })
}

/// Whether a URL is on Mailgun's own hosts (`storage-<region>.api.mailgun.net` and kin).
pub(in crate::ingress) fn is_mailguns(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        url.scheme() == "https"
            && url.port().is_none()
            && url.username().is_empty()
            && url.host_str().is_some_and(|host| host.ends_with(".mailgun.net"))
    })
}
