//! What lies within a mail's files: forwarded mails, `winmail.dat`, calendars.

use std::collections::VecDeque;

use crate::{
    domain::{
        mail::{Forwarded, Invite},
        template::clip,
    },
    ingress::mail::{MailLimits, RawFile, ReadMail, calendar, clean, name, read_parts, tnef},
};

/// Mails within mails within … that are opened.
const DEPTH: u32 = 3;
/// Forwarded mails of one mail that are opened.
const MAILS: usize = 20;
/// Bytes of all files that are taken out of others.
const BYTES: usize = 32 * 1024 * 1024;
/// Files that are taken out of others.
const FILES: usize = 500;
/// Calendar entries of one mail.
const INVITES: usize = 20;
/// Bytes of the text of a forwarded mail that stand in the event; the file has the rest.
const TEXT_BYTES: usize = 200_000;

/// What was found.
#[derive(Default)]
pub(super) struct Opened {
    /// Outer mails before those within them.
    pub(super) forwarded: Vec<Forwarded>,
    /// In the order of their files.
    pub(super) invites: Vec<Invite>,
    /// The text of a `winmail.dat`.
    pub(super) text: Option<String>,
    /// The HTML of a `winmail.dat`.
    pub(super) html: Option<String>,
}

/// Opens the files of a mail. What is taken out is added behind them, and all names become safe and unique.
pub(super) fn open(files: &mut Vec<RawFile>, limits: &MailLimits) -> Opened {
    let mut opening = Opening { files: std::mem::take(files), ..Opening::default() };
    opening.waiting = (0..opening.files.len()).map(|at| (at, 1)).collect();
    while let Some((at, depth)) = opening.waiting.pop_front() {
        opening.one(at, depth, limits);
    }
    opening.finish(files)
}

#[derive(Default)]
struct Opening {
    files: Vec<RawFile>,
    /// For each file the one that it was taken out of.
    outer: Vec<(usize, usize)>,
    /// Files to be opened, and how deep they lie.
    waiting: VecDeque<(usize, u32)>,
    taken_bytes: usize,
    taken: usize,
    /// With the places of the mail and of its files.
    mails: Vec<(Forwarded, usize, Vec<usize>)>,
    found: Opened,
}

impl Opening {
    fn one(&mut self, at: usize, depth: u32, limits: &MailLimits) {
        let Some(file) = self.files.get(at) else { return };
        let kind = file.content_type.as_str();
        if kind == "text/calendar" || kind == "application/ics" || has_ending(&file.filename, ".ics") {
            let room = INVITES - self.found.invites.len().min(INVITES);
            self.found.invites.extend(calendar::read(&file.bytes).into_iter().take(room));
        } else if matches!(kind, "message/rfc822" | "message/global") && depth <= DEPTH && self.mails.len() < MAILS {
            let bytes = std::mem::take(&mut self.files[at].bytes);
            if let Ok(read) = read_parts(&bytes, limits) {
                self.mail(at, depth, read);
            }
            self.files[at].bytes = bytes;
        } else if (matches!(kind, "application/ms-tnef" | "application/vnd.ms-tnef") || is_winmail(&file.filename))
            && let Some(found) = tnef::read(&file.bytes)
        {
            self.tnef(at, depth, found);
        }
    }

    fn mail(&mut self, at: usize, depth: u32, read: ReadMail) {
        let ReadMail { email, attachments, .. } = read;
        let first = self.files.len();
        for file in attachments {
            self.take(at, depth, file);
        }
        let forwarded = Forwarded {
            file: String::new(),
            depth,
            text: clip(&email.text, TEXT_BYTES).to_owned(),
            from: email.from,
            to: email.to,
            date: email.date,
            subject: email.subject,
            message_id: email.message_id,
            attachments: Vec::new(),
        };
        self.mails.push((forwarded, at, (first..self.files.len()).collect()));
    }

    fn tnef(&mut self, at: usize, depth: u32, found: tnef::Tnef) {
        for file in found.files {
            let content_type = clean::line(&file.content_type).to_ascii_lowercase();
            let file = RawFile {
                filename: if file.name.trim().is_empty() { "file.bin".to_owned() } else { file.name },
                content_type: if content_type.is_empty() {
                    "application/octet-stream".to_owned()
                } else {
                    content_type
                },
                bytes: file.bytes,
                content_id: file.content_id.map(|id| clean::line(&id)).filter(|id| !id.is_empty()),
                within: None,
            };
            self.take(at, depth, file);
        }
        if depth == 1 {
            self.found.text = self.found.text.take().or(found.text);
            self.found.html = self.found.html.take().or(found.html);
        }
    }

    /// Keeps a file that was taken out of another one.
    fn take(&mut self, outer: usize, depth: u32, file: RawFile) {
        self.taken_bytes = self.taken_bytes.saturating_add(file.bytes.len());
        if self.taken >= FILES || self.taken_bytes > BYTES {
            return;
        }
        self.taken += 1;
        let at = self.files.len();
        self.outer.push((at, outer));
        self.files.push(file);
        self.waiting.push_back((at, depth + 1));
    }

    fn finish(self, files: &mut Vec<RawFile>) -> Opened {
        let Self { files: all, outer, mails, mut found, .. } = self;
        *files = name::unique(all);
        for (at, outer) in outer {
            let within = files.get(outer).map(|outer| outer.filename.clone());
            if let Some(file) = files.get_mut(at) {
                file.within = within;
            }
        }
        let name = |at: usize| files.get(at).map(|file| file.filename.clone()).unwrap_or_default();
        found.forwarded = mails
            .into_iter()
            .map(|(mail, at, own)| Forwarded {
                file: name(at),
                attachments: own.into_iter().map(name).collect(),
                ..mail
            })
            .collect();
        found
    }
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.len() >= ending.len()
        && name.is_char_boundary(name.len() - ending.len())
        && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
}

/// Exchange's name for it; some carriers lose its type.
fn is_winmail(name: &str) -> bool {
    name.eq_ignore_ascii_case("winmail.dat")
}
