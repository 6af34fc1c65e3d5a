//! An open mailbox: what it holds that is new, one mail of it, what is done with it, and waiting for more.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    domain::time::Timestamp,
    egress::stream::BoxedStream,
    mailbox::{
        MailboxError,
        command::Command,
        fetch::{self, Bytes, Condition},
        wire::{Limits, Piece, Response, Wire},
    },
};

/// For answers that list many numbers: 20,000 of them fit by far.
const LISTING: Limits = Limits { line: 512 << 10, all: 4 << 20, ..Limits::SHORT };
/// Time for one mail.
const BODY_TIME: Duration = Duration::from_secs(600);
/// What stands around a mail in its response, in bytes, and what the server may say unasked meanwhile.
const BODY_ROOM: usize = 64 << 10;

/// A folder as it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Numbers of mails mean something only together with this one (RFC 3501 section 2.3.1.1).
    pub uid_validity: u32,
    /// No mail has this number or a higher one yet; `None` when the server does not tell.
    pub uid_next: Option<u32>,
}

/// A mail, not yet fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its number.
    pub uid: u32,
    /// Its size in bytes, as the server says; 0 when it does not.
    pub size: u64,
    /// When it came into the mailbox; `None` when that cannot be read.
    pub arrived: Option<Timestamp>,
}

/// What a fetch brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// The mail to the byte.
    Here(Vec<u8>),
    /// It has more bytes than were asked for.
    TooLarge(u64),
    /// It is not there any more.
    Gone,
}

/// A connection that is logged in. Dropping it closes the connection.
pub struct Session {
    wire: Wire,
    tag: u64,
    capabilities: BTreeSet<String>,
    /// Mails in the open folder.
    exists: u32,
    /// Whether the server spoke of new mail since the folder was looked at last.
    news: bool,
}

impl Session {
    /// Takes the server's greeting. The second value says whether it takes us for logged in already.
    pub(super) async fn greet(stream: BoxedStream) -> Result<(Self, bool), MailboxError> {
        let mut wire = Wire::new(stream);
        let greeting = wire.read().await?;
        let text = greeting.head().strip_prefix(b"* ").unwrap_or_default();
        let Some(condition) = Condition::read(text) else {
            return Err(MailboxError::Protocol("no greeting of an IMAP server"));
        };
        if condition.is("BYE") {
            return Err(MailboxError::Bye(condition.shown()));
        }
        let known = condition.is("PREAUTH");
        Ok((Self { wire, tag: 0, capabilities: BTreeSet::new(), exists: 0, news: false }, known))
    }

    pub(super) fn into_stream(self) -> Result<BoxedStream, MailboxError> {
        self.wire.into_stream()
    }

    /// Goes on over another stream, as after STARTTLS: what was known of the server is forgotten.
    pub(super) fn over(stream: BoxedStream) -> Self {
        Self { wire: Wire::new(stream), tag: 0, capabilities: BTreeSet::new(), exists: 0, news: false }
    }

    pub(super) async fn ask_capabilities(&mut self) -> Result<(), MailboxError> {
        let mut found = BTreeSet::new();
        self.run(Command::new("CAPABILITY"), Limits::SHORT, |response| {
            let (name, mut rest) = fetch::word(response.head());
            if name.eq_ignore_ascii_case(b"CAPABILITY") {
                while !rest.is_empty() {
                    let (one, more) = fetch::word(rest);
                    found.insert(String::from_utf8_lossy(one).to_ascii_uppercase());
                    rest = more;
                }
            }
        })
        .await?;
        self.capabilities = found;
        Ok(())
    }

    /// Whether the server offers an extension, such as `IDLE`.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Opens a folder, for changes or (EXAMINE) without leaving any trace.
    ///
    /// # Errors
    /// When there is no such folder, or it has no lasting numbers.
    pub async fn select(&mut self, folder: &str, leave_no_trace: bool) -> Result<Selected, MailboxError> {
        let command = Command::new(if leave_no_trace { "EXAMINE" } else { "SELECT" }).folder(folder);
        self.exists = 0;
        let (mut validity, mut next, mut lasting) = (None, None, true);
        self.run(command, Limits::SHORT, |response| {
            if let Some(condition) = Condition::read(response.head()) {
                validity = condition.number("UIDVALIDITY").or(validity);
                next = condition.number("UIDNEXT").or(next);
                lasting &= !condition.code.eq_ignore_ascii_case(b"UIDNOTSTICKY");
            }
        })
        .await?;
        let uid_validity = validity.filter(|_| lasting).ok_or(MailboxError::Missing("lasting numbers of mails"))?;
        Ok(Selected { uid_validity, uid_next: next })
    }

    /// The highest number in the open folder; `None` when it is empty.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn last_uid(&mut self) -> Result<Option<u32>, MailboxError> {
        if self.exists == 0 {
            return Ok(None);
        }
        self.news = false;
        let found = self.fetch(Command::new("UID FETCH").word("*").word("(UID)"), Limits::SHORT, 8).await?;
        Ok(found.into_iter().filter_map(|fetched| fetched.uid).max())
    }

    /// The numbers that exist between two, both included, in order.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn search(&mut self, first: u32, last: u32) -> Result<Vec<u32>, MailboxError> {
        let mut found = BTreeSet::new();
        let command = Command::new("UID SEARCH").word("UID").word(&format!("{first}:{last}"));
        self.run(command, LISTING, |response| {
            let (name, mut rest) = fetch::word(response.head());
            while name.eq_ignore_ascii_case(b"SEARCH") && !rest.is_empty() {
                let (one, more) = fetch::word(rest);
                // Some servers name the last mail whatever the range is.
                found.extend(fetch::number(one).filter(|uid| (first..=last).contains(uid)));
                rest = more;
            }
        })
        .await?;
        Ok(found.into_iter().collect())
    }

    /// What mails are like; those that are gone are left out.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn summaries(&mut self, uids: &[u32]) -> Result<Vec<Summary>, MailboxError> {
        let set: Vec<String> = uids.iter().map(u32::to_string).collect();
        let command = Command::new("UID FETCH").word(&set.join(",")).word("(UID RFC822.SIZE INTERNALDATE)");
        let found = self.fetch(command, LISTING, uids.len()).await?;
        let summary = |fetched: fetch::Fetched| {
            let uid = fetched.uid.filter(|uid| uids.contains(uid))?;
            Some(Summary { uid, size: fetched.size.unwrap_or(0), arrived: fetched.arrived })
        };
        let mut found: Vec<Summary> = found.into_iter().filter_map(summary).collect();
        found.sort_unstable_by_key(|summary| summary.uid);
        found.dedup_by_key(|summary| summary.uid);
        Ok(found)
    }

    /// Fetches a mail of at most `most` bytes without marking it.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn body(&mut self, uid: u32, most: usize) -> Result<Body, MailboxError> {
        let limits = Limits { line: BODY_ROOM, literal: most, all: most.saturating_add(BODY_ROOM), time: BODY_TIME };
        let command = Command::new("UID FETCH").word(&uid.to_string()).word("(UID BODY.PEEK[])");
        let found = self.fetch(command, limits, 2).await?;
        let body = found.into_iter().filter(|fetched| fetched.uid == Some(uid)).find_map(|fetched| fetched.body);
        Ok(match body.flatten() {
            Some(Bytes::Here(bytes)) => Body::Here(bytes),
            Some(Bytes::TooMany(size)) => Body::TooLarge(size),
            None => Body::Gone,
        })
    }

    /// Adds a flag or keyword to a mail.
    ///
    /// # Errors
    /// When the server refuses or the connection fails.
    pub async fn flag(&mut self, uid: u32, flag: &str) -> Result<(), MailboxError> {
        let store = Command::new("UID STORE").word(&uid.to_string()).word("+FLAGS.SILENT").word(&format!("({flag})"));
        self.run(store, Limits::SHORT, |_| {}).await
    }

    /// Moves a mail to another folder, which is made when it is not there. Without MOVE (RFC 6851) it is copied
    /// and marked as deleted; nothing else that is marked so is removed.
    ///
    /// # Errors
    /// When the server refuses or the connection fails.
    pub async fn move_to(&mut self, uid: u32, folder: &str) -> Result<(), MailboxError> {
        let name = if self.has("MOVE") { "UID MOVE" } else { "UID COPY" };
        let carry = || Command::new(name).word(&uid.to_string()).folder(folder);
        match self.run(carry(), Limits::SHORT, |_| {}).await {
            Err(MailboxError::Refused { text, .. }) if text.to_ascii_uppercase().contains("[TRYCREATE]") => {
                self.run(Command::new("CREATE").folder(folder), Limits::SHORT, |_| {}).await?;
                self.run(carry(), Limits::SHORT, |_| {}).await?;
            }
            other => other?,
        }
        if !self.has("MOVE") {
            self.flag(uid, "\\Deleted").await?;
            if self.has("UIDPLUS") {
                self.run(Command::new("UID EXPUNGE").word(&uid.to_string()), Limits::SHORT, |_| {}).await?;
            }
        }
        Ok(())
    }

    /// Waits until something happens in the open folder, at most that long (RFC 2177).
    ///
    /// # Errors
    /// When the server refuses or the connection fails.
    pub async fn idle(&mut self, time: Duration) -> Result<(), MailboxError> {
        let tag = self.send(Command::new("IDLE"), Limits::SHORT).await?;
        if self.ready("IDLE", &tag).await?.is_none() {
            return Err(MailboxError::Protocol("an end of IDLE that nobody asked for"));
        }
        let until = tokio::time::Instant::now() + time;
        while !self.news {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if !self.wire.wait(left).await? {
                break;
            }
            // `OK Still here` may come every other minute: each response has limits of its own.
            self.wire.allow(Limits::SHORT);
            let response = self.wire.read().await?;
            if self.untagged(&response, &tag)?.is_some() {
                return Err(MailboxError::Protocol("an end of IDLE that nobody asked for"));
            }
        }
        self.wire.allow(Limits::SHORT);
        self.wire.write(b"DONE\r\n").await?;
        self.finish("IDLE", &tag, |_| {}).await
    }

    /// Asks for news, where there is no IDLE.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn look(&mut self) -> Result<(), MailboxError> {
        self.run(Command::new("NOOP"), Limits::SHORT, |_| {}).await
    }

    /// Says goodbye; whether it is heard does not matter.
    pub async fn close(mut self) {
        let command = Command::new("LOGOUT");
        drop(tokio::time::timeout(Duration::from_secs(2), self.run(command, Limits::SHORT, |_| {})).await);
    }

    async fn fetch(
        &mut self,
        command: Command,
        limits: Limits,
        most: usize,
    ) -> Result<Vec<fetch::Fetched>, MailboxError> {
        let (mut found, mut broken) = (Vec::new(), false);
        self.run(command, limits, |response| {
            let (number, rest) = fetch::word(response.head());
            let (name, _) = fetch::word(rest);
            if fetch::number::<u32>(number).is_some()
                && name.eq_ignore_ascii_case(b"FETCH")
                && found.len() <= 2 * most + 64
            {
                let skip = number.len() + name.len() + 2;
                match fetch::items(response, skip) {
                    // Flags that changed come unasked, without what was asked for.
                    Some(fetched) if fetched.uid.is_some() => found.push(fetched),
                    Some(_) => {}
                    None => broken = true,
                }
            }
        })
        .await?;
        if broken { Err(MailboxError::Protocol("a FETCH that cannot be read")) } else { Ok(found) }
    }

    /// Sends a command and reads to its end. `each` gets every untagged response, without the `* `.
    pub(super) async fn run(
        &mut self,
        command: Command,
        limits: Limits,
        each: impl FnMut(Response),
    ) -> Result<(), MailboxError> {
        let name = command.name;
        let tag = self.send(command, limits).await?;
        self.finish(name, &tag, each).await
    }

    /// Sends a command; where it holds literals the server is waited for before each. Returns its tag.
    pub(super) async fn send(&mut self, command: Command, limits: Limits) -> Result<String, MailboxError> {
        self.tag += 1;
        let tag = format!("p{}", self.tag);
        self.wire.allow(limits);
        let mut out = format!("{tag} ").into_bytes();
        let last = command.pieces.len().saturating_sub(1);
        for (at, piece) in command.pieces.into_iter().enumerate() {
            out.extend_from_slice(&piece);
            if at == last {
                out.extend_from_slice(b"\r\n");
            }
            self.wire.write(&out).await?;
            out.clear();
            if at < last && self.ready(command.name, &tag).await?.is_none() {
                return Err(MailboxError::Protocol("an end of a command that was not whole"));
            }
        }
        Ok(tag)
    }

    /// Waits for `+`, with which the server asks for the rest of a command. Returns what stands behind it; `None`
    /// when the command succeeded instead.
    pub(super) async fn ready(&mut self, command: &'static str, tag: &str) -> Result<Option<Vec<u8>>, MailboxError> {
        loop {
            let response = self.wire.read().await?;
            if let Some(rest) = response.head().strip_prefix(b"+") {
                return Ok(Some(rest.trim_ascii().to_vec()));
            }
            match self.untagged(&response, tag)? {
                None => {}
                Some(Err(text)) => return Err(MailboxError::Refused { command, text }),
                Some(Ok(())) => return Ok(None),
            }
        }
    }

    /// Sends a line that belongs to a command under way.
    pub(super) async fn send_line(&mut self, line: &[u8]) -> Result<(), MailboxError> {
        self.wire.write(&[line, b"\r\n"].concat()).await
    }

    /// Reads to the end of the command of that tag.
    pub(super) async fn finish(
        &mut self,
        command: &'static str,
        tag: &str,
        mut each: impl FnMut(Response),
    ) -> Result<(), MailboxError> {
        loop {
            let mut response = self.wire.read().await?;
            if let Some(ended) = self.untagged(&response, tag)? {
                return ended.map_err(|text| MailboxError::Refused { command, text });
            }
            if let Some(Piece::Text(text)) = response.0.first_mut()
                && text.starts_with(b"* ")
            {
                text.drain(..2);
                each(response);
            }
        }
    }

    /// Notes what any response may tell. `Some` when it ends the command of that tag: how.
    fn untagged(&mut self, response: &Response, tag: &str) -> Result<Option<Result<(), String>>, MailboxError> {
        let (first, rest) = fetch::word(response.head());
        if first == tag.as_bytes() {
            let condition = Condition::read(rest).ok_or(MailboxError::Protocol("an end without a status"))?;
            return Ok(Some(if condition.is("OK") { Ok(()) } else { Err(condition.shown()) }));
        }
        if first != b"*" {
            return Ok(None);
        }
        if let Some(condition) = Condition::read(rest).filter(|condition| condition.is("BYE")) {
            return Err(MailboxError::Bye(condition.shown()));
        }
        let (number, rest) = fetch::word(rest);
        if let Some(number) = fetch::number::<u32>(number) {
            match fetch::word(rest).0.to_ascii_uppercase().as_slice() {
                b"EXISTS" => (self.exists, self.news) = (number, true),
                b"EXPUNGE" => self.exists = self.exists.saturating_sub(1),
                _ => {}
            }
        }
        Ok(None)
    }
}
