//! Handshakes and pings: requests that are answered at once and start nothing.

use std::collections::BTreeMap;

use crate::ingress::{
    Answer, answer,
    signature::{
        condition::Conditions,
        scheme::Condition,
        source::{Context, Source},
        template::Template,
    },
};

/// A request that is answered at once.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// All must hold.
    pub when: &'a [Condition<'a>],
    /// Who is answered.
    pub trust: Trust,
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub reply: Reply<'a>,
    /// Header lines, whose values are templates.
    pub headers: &'a [(&'static str, &'a str)],
    /// What is to be fetched besides.
    pub confirm: Option<Confirm<'a>>,
}

impl Handshake<'_> {
    /// A proven request, answered 200 with nothing: what rows start from.
    pub const PING: Handshake<'static> =
        Handshake { when: &[], trust: Trust::Proven, status: 200, reply: Reply::Empty, headers: &[], confirm: None };
}

/// Whether a URL may be fetched.
pub type Allows = fn(&str) -> bool;

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whoever signed the request. It is recorded.
    Proven,
    /// Anybody: the provider signs no such request. It is counted and not recorded.
    Anyone,
}

/// The body of an answer. Places of templates are filled as they are; in JSON they are escaped.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// None.
    Empty,
    /// Text by a template.
    Text(&'a str),
    /// JSON to the letter.
    Json(&'a str),
    /// A JSON object with these fields in order, whose values are templates.
    Object(&'a [(&'a str, &'a str)]),
}

/// A URL in a proven request that must be fetched to confirm a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Confirm<'a> {
    /// Where the URL is.
    pub source: &'a str,
    /// Whether it may be fetched: only the provider's own hosts.
    pub allows: Allows,
    /// The option that forbids it when it is `false`.
    pub option: &'a str,
}

/// A handshake with its sources and templates compiled.
pub(super) struct Compiled {
    pub(super) trust: Trust,
    when: Conditions,
    status: u16,
    reply: CompiledReply,
    headers: Vec<(&'static str, Template)>,
    confirm: Option<(Source, Allows)>,
}

enum CompiledReply {
    Empty,
    Text(Template),
    Json(String),
    Object(Vec<(String, Template)>),
}

impl Compiled {
    pub(super) fn new(row: &Handshake<'_>, options: &BTreeMap<String, String>) -> Result<Self, String> {
        let template = |text: &str| Template::parse(text, options);
        let is_forbidden = |confirm: &Confirm<'_>| options.get(confirm.option).is_some_and(|value| value == "false");
        let confirm = row.confirm.filter(|confirm| !is_forbidden(confirm));
        Ok(Self {
            trust: row.trust,
            when: Conditions::new(row.when, options)?,
            status: row.status,
            reply: match row.reply {
                Reply::Empty => CompiledReply::Empty,
                Reply::Text(text) => CompiledReply::Text(template(text)?),
                Reply::Json(text) => CompiledReply::Json(text.to_owned()),
                Reply::Object(fields) => CompiledReply::Object(
                    fields
                        .iter()
                        .map(|(name, text)| Ok(((*name).to_owned(), template(text)?)))
                        .collect::<Result<_, String>>()?,
                ),
            },
            headers: row
                .headers
                .iter()
                .map(|(name, text)| Ok((*name, template(text)?)))
                .collect::<Result<_, String>>()?,
            confirm: confirm
                .map(|confirm| Ok::<_, String>((Source::parse(confirm.source, options)?, confirm.allows)))
                .transpose()?,
        })
    }

    pub(super) fn fits(&self, context: &Context<'_, '_>) -> bool {
        self.when.hold(context)
    }

    /// The answer; `None` when the request lacks something that stands in it.
    pub(super) fn answer(&self, context: &Context<'_, '_>) -> Option<Answer> {
        let (content_type, body) = match &self.reply {
            CompiledReply::Empty => ("", String::new()),
            CompiledReply::Text(text) => ("text/plain", text.render(context)?),
            CompiledReply::Json(text) => ("application/json", text.clone()),
            CompiledReply::Object(fields) => ("application/json", object(fields, context)?),
        };
        let headers = self.headers.iter().map(|(name, text)| Some((*name, text.render(context)?)));
        Some(Answer { headers: headers.collect::<Option<_>>()?, ..answer::plain(self.status, content_type, body) })
    }

    /// The URL that confirms the subscription, when there is one that may be fetched.
    pub(super) fn confirmation(&self, context: &Context<'_, '_>) -> Option<String> {
        let (source, allows) = self.confirm.as_ref()?;
        source.read_text(context).filter(|url| allows(url))
    }
}

fn object(fields: &[(String, Template)], context: &Context<'_, '_>) -> Option<String> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let pairs: Option<Vec<String>> = fields
        .iter()
        .map(|(name, template)| Some(format!("{}:{}", quoted(name), quoted(&template.render(context)?))))
        .collect();
    Some(format!("{{{}}}", pairs?.join(",")))
}
