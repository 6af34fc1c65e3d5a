//! What is to be sent, as the command line says it.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::ingress::signing::{FileDraft, HookDraft, MailDraft, MailForm, SmsDraft};

/// Bytes of a text, a body or a file at most.
const MAX_BYTES: u64 = 25 * 1024 * 1024;

/// Media types by file extension; anything else is `application/octet-stream`.
const MEDIA_TYPES: [(&str, &str); 13] = [
    ("csv", "text/csv"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("txt", "text/plain"),
    ("zip", "application/zip"),
];

/// A mail.
#[derive(Debug, Args)]
pub(super) struct Email {
    /// The agent's address.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// Who writes.
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// The subject.
    #[arg(long, default_value = "", value_name = "TEXT")]
    subject: String,
    /// The text; `-`, or neither this nor --text-file, reads standard input.
    #[arg(long, value_name = "TEXT", conflicts_with = "text_file")]
    text: Option<String>,
    /// A file with the text.
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// A file to attach; may be said again.
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// The Message-ID that is answered: continues that thread.
    #[arg(long, value_name = "ID")]
    in_reply_to: Option<String>,
    /// Hand the mail over as it was sent, where its provider knows both ways (Mailgun, SendGrid, Postmark).
    #[arg(long)]
    raw: bool,
}

/// A text message.
#[derive(Debug, Args)]
pub(super) struct Sms {
    /// Who writes: +1555…
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// The agent's number.
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// The text; `-` reads standard input.
    #[arg(long, value_name = "TEXT")]
    text: String,
}

/// An event.
#[derive(Debug, Args)]
pub(super) struct Webhook {
    /// What happened, in the service's words, such as issues.opened or charge.succeeded.
    #[arg(long, value_name = "KIND")]
    event: Option<String>,
    /// The body: JSON, @FILE, or `-` for standard input.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    body: String,
}

impl Email {
    pub(super) fn draft(&self) -> anyhow::Result<MailDraft> {
        let text = match (self.text.as_deref(), &self.text_file) {
            (Some("-") | None, None) => stdin()?,
            (Some(text), _) => text.to_owned(),
            (None, Some(file)) => text(read(file)?)?,
        };
        Ok(MailDraft {
            from: self.from.clone(),
            to: self.to.clone(),
            subject: self.subject.clone(),
            text,
            in_reply_to: self.in_reply_to.clone(),
            files: self.attach.iter().map(|path| attachment(path)).collect::<Result<_, _>>()?,
            form: if self.raw { MailForm::Raw } else { MailForm::Parsed },
        })
    }
}

impl Sms {
    pub(super) fn draft(&self) -> anyhow::Result<SmsDraft> {
        let text = if self.text == "-" { stdin()? } else { self.text.clone() };
        Ok(SmsDraft { from: self.from.clone(), to: self.to.clone(), text })
    }
}

impl Webhook {
    pub(super) fn draft(&self) -> anyhow::Result<HookDraft> {
        let body = match (self.body.as_str(), self.body.strip_prefix('@')) {
            ("-", _) => stdin()?,
            (_, Some(file)) => text(read(Path::new(file))?)?,
            (written, None) => written.to_owned(),
        };
        let body: Value = serde_json::from_str(&body).context("`--body` is no JSON")?;
        Ok(HookDraft { kind: self.event.clone(), body: if body.is_null() { json!({}) } else { body } })
    }
}

fn attachment(path: &Path) -> anyhow::Result<FileDraft> {
    let name = path.file_name().with_context(|| format!("{} is no file", path.display()))?;
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let known = MEDIA_TYPES.iter().find(|(known, _)| Some(*known) == extension.as_deref());
    Ok(FileDraft {
        filename: name.to_string_lossy().into_owned(),
        content_type: known.map_or("application/octet-stream", |(_, media_type)| media_type).to_owned(),
        bytes: read(path)?,
    })
}

fn stdin() -> anyhow::Result<String> {
    text(bounded(io::stdin().lock()).context("standard input cannot be read")?)
}

fn text(bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).context("the text is no UTF-8")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = fs::File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    bounded(file).with_context(|| format!("{} cannot be read", path.display()))
}

fn bounded(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(read as u64 <= MAX_BYTES, "it is larger than 25 MiB");
    Ok(bytes)
}
