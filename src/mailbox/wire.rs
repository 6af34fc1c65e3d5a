//! Lines and literals of IMAP (RFC 3501 section 2.2), read under limits.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use crate::{
    egress::stream::BoxedStream,
    mailbox::{MailboxError, excerpt},
};

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// Literals in one response at most.
const MOST_LITERALS: usize = 16;
/// A literal of more bytes than wanted is read past up to this size; beyond it the connection is given up.
const MOST_SKIPPED: u64 = 256 << 20;

/// What one command may bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of one response without its literals.
    pub(super) line: usize,
    /// Bytes of one literal that are kept.
    pub(super) literal: usize,
    /// Bytes of all responses up to the command's end, literals that are read past left out.
    pub(super) all: usize,
    /// Time until the command's end.
    pub(super) time: Duration,
}

impl Limits {
    /// For commands that are answered in a few lines.
    pub(super) const SHORT: Self =
        Self { line: 64 << 10, literal: 8 << 10, all: 1 << 20, time: Duration::from_secs(60) };
}

/// One part of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text up to a literal or the line's end, without either mark.
    Text(Vec<u8>),
    /// A literal.
    Literal(Vec<u8>),
    /// A literal that was larger than wanted, by its size.
    Skipped(u64),
}

/// A response: text and literals in turn, text first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response(pub(super) Vec<Piece>);

impl Response {
    /// The text before the first literal: the whole response in most cases.
    pub(super) fn head(&self) -> &[u8] {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Literal(_) | Piece::Skipped(_)) | None => &[],
        }
    }
}

/// A connection, with what was read of it and not yet taken.
pub(super) struct Wire {
    stream: BoxedStream,
    buffer: Vec<u8>,
    /// How much of the buffer was taken.
    taken: usize,
    /// What the command under way may still bring, in bytes.
    left: usize,
    limits: Limits,
    until: Instant,
}

impl Wire {
    pub(super) fn new(stream: BoxedStream) -> Self {
        let limits = Limits::SHORT;
        let until = Instant::now() + limits.time;
        Self { stream, buffer: Vec::new(), taken: 0, left: limits.all, limits, until }
    }

    /// The bare connection, for TLS on top of it.
    ///
    /// # Errors
    /// When something is left in the buffer: it came before the protection and would count as protected.
    pub(super) fn into_stream(self) -> Result<BoxedStream, MailboxError> {
        if self.taken < self.buffer.len() {
            return Err(MailboxError::Protocol("data before the TLS handshake"));
        }
        Ok(self.stream)
    }

    /// Sets what the next command may bring.
    pub(super) fn allow(&mut self, limits: Limits) {
        self.limits = limits;
        self.left = limits.all;
        self.until = Instant::now() + limits.time;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), MailboxError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout_at(self.until, written).await {
            Err(_) => Err(MailboxError::Slow(self.limits.time.as_secs())),
            Ok(Err(fault)) => Err(broken(&fault)),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Reads one response. Dropping the future between two responses loses nothing, within one the connection.
    pub(super) async fn read(&mut self) -> Result<Response, MailboxError> {
        let until = self.until;
        let time = self.limits.time.as_secs();
        tokio::time::timeout_at(until, self.read_response()).await.unwrap_or(Err(MailboxError::Slow(time)))
    }

    /// Waits for the first byte of a response, at most that long. Returns whether one is there. May be dropped at
    /// any time.
    pub(super) async fn wait(&mut self, time: Duration) -> Result<bool, MailboxError> {
        if self.taken < self.buffer.len() {
            return Ok(true);
        }
        match tokio::time::timeout(time, self.fill()).await {
            Err(_) => Ok(false),
            Ok(filled) => filled.map(|()| true),
        }
    }

    async fn read_response(&mut self) -> Result<Response, MailboxError> {
        let (mut pieces, mut room) = (Vec::new(), self.limits.line);
        loop {
            let mut text = self.read_line(room).await?;
            room = room.saturating_sub(text.len());
            let Some((start, size)) = literal(&text) else {
                pieces.push(Piece::Text(text));
                return Ok(Response(pieces));
            };
            text.truncate(start);
            pieces.push(Piece::Text(text));
            if pieces.len() > 2 * MOST_LITERALS {
                return Err(MailboxError::Protocol("too many literals in one response"));
            }
            pieces.push(self.read_literal(size).await?);
        }
    }

    /// Up to CRLF, without it.
    async fn read_line(&mut self, room: usize) -> Result<Vec<u8>, MailboxError> {
        let mut seen = self.taken;
        loop {
            if let Some(at) = self.buffer[seen..].iter().position(|byte| *byte == b'\n') {
                let end = seen + at;
                let line = &self.buffer[self.taken..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                if line.len() > room {
                    return Err(MailboxError::Protocol("a line that is too long"));
                }
                self.spend(end + 1 - self.taken)?;
                self.taken = end + 1;
                return Ok(line);
            }
            if self.buffer.len() - self.taken > room {
                return Err(MailboxError::Protocol("a line that is too long"));
            }
            let held = self.buffer.len() - self.taken;
            self.fill().await?;
            seen = self.taken + held;
        }
    }

    async fn read_literal(&mut self, size: u64) -> Result<Piece, MailboxError> {
        let kept = usize::try_from(size).ok().filter(|size| *size <= self.limits.literal);
        let Some(size) = kept else {
            self.skip(size).await?;
            return Ok(Piece::Skipped(size));
        };
        self.spend(size)?;
        // What is announced takes no memory before it is there.
        let mut bytes = Vec::with_capacity(size.min(CHUNK));
        while bytes.len() < size {
            if self.taken == self.buffer.len() {
                self.fill().await?;
            }
            let end = self.buffer.len().min(self.taken + size - bytes.len());
            bytes.extend_from_slice(&self.buffer[self.taken..end]);
            self.taken = end;
        }
        Ok(Piece::Literal(bytes))
    }

    async fn skip(&mut self, size: u64) -> Result<(), MailboxError> {
        if size > MOST_SKIPPED {
            return Err(MailboxError::Protocol("a literal of a size that nobody asked for"));
        }
        let mut left = size;
        while left > 0 {
            if self.taken == self.buffer.len() {
                self.fill().await?;
            }
            let there = self.buffer.len() - self.taken;
            let step = usize::try_from(left).map_or(there, |left| left.min(there));
            self.taken += step;
            left -= step as u64;
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), MailboxError> {
        self.left = self.left.checked_sub(bytes).ok_or(MailboxError::Protocol("more than one command can bring"))?;
        Ok(())
    }

    /// Reads more; what was taken makes room.
    async fn fill(&mut self) -> Result<(), MailboxError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let held = self.buffer.len();
        self.buffer.reserve(CHUNK);
        let mut chunk = (&mut self.stream).take(CHUNK as u64);
        match chunk.read_buf(&mut self.buffer).await {
            Ok(0) => Err(MailboxError::Broken("the server closed it".to_owned())),
            Ok(_) => {
                debug_assert!(self.buffer.len() > held, "bytes were read");
                Ok(())
            }
            Err(fault) => Err(broken(&fault)),
        }
    }
}

/// Where a literal's announcement `{123}` begins at the end of a line, and its size.
fn literal(line: &[u8]) -> Option<(usize, u64)> {
    let inner = line.strip_suffix(b"}")?;
    let inner = inner.strip_suffix(b"+").unwrap_or(inner);
    let digits = inner.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let start = inner.len().checked_sub(digits + 1)?;
    if digits == 0 || inner[start] != b'{' {
        return None;
    }
    let size = std::str::from_utf8(&inner[start + 1..]).ok()?.parse().unwrap_or(u64::MAX);
    Some((start, size))
}

fn broken(fault: &std::io::Error) -> MailboxError {
    MailboxError::Broken(excerpt(fault.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::{Limits, Piece, Wire, literal};
    use crate::mailbox::MailboxError;

    async fn read(sent: &[u8], limits: Limits) -> Result<Vec<Piece>, MailboxError> {
        let (ours, mut theirs) = tokio::io::duplex(7);
        let sent = sent.to_vec();
        let writer = tokio::spawn(async move { theirs.write_all(&sent).await });
        let mut wire = Wire::new(Box::new(ours));
        wire.allow(limits);
        let read = wire.read().await;
        drop(wire);
        drop(writer.await);
        read.map(|response| response.0)
    }

    #[tokio::test]
    async fn literals_are_taken_out_of_their_lines() {
        let text = |text: &str| Piece::Text(text.as_bytes().to_vec());
        let found = read(b"* 1 FETCH (BODY[] {5}\r\na\r\nb) UID 7)\r\n", Limits::SHORT).await.unwrap();
        assert_eq!(found, [text("* 1 FETCH (BODY[] "), Piece::Literal(b"a\r\nb)".to_vec()), text(" UID 7)")]);
        let small = Limits { literal: 4, ..Limits::SHORT };
        let found = read(b"* 1 FETCH (BODY[] {5}\r\na\r\nb) UID 7)\r\n", small).await.unwrap();
        assert_eq!(found[1], Piece::Skipped(5));
    }

    #[tokio::test]
    async fn what_is_too_much_ends_the_connection_without_being_kept() {
        let refused = async |sent: &[u8], limits: Limits| match read(sent, limits).await {
            Err(MailboxError::Protocol(reason)) => reason,
            other => panic!("{other:?}"),
        };
        let line = Limits { line: 100, ..Limits::SHORT };
        assert_eq!(refused(&[b'x'; 200], line).await, "a line that is too long");
        assert_eq!(refused(&[&[b'x'; 150][..], b"\r\n"].concat(), line).await, "a line that is too long");
        let huge = b"* OK {99999999999999999999999}\r\n";
        assert_eq!(refused(huge, Limits::SHORT).await, "a literal of a size that nobody asked for");
        assert_eq!(refused(&b"{0}\r\n".repeat(20), Limits::SHORT).await, "too many literals in one response");
        let few = Limits { all: 20, ..Limits::SHORT };
        assert_eq!(refused(b"* OK x {10}\r\n0123456789\r\n", few).await, "more than one command can bring");
        let slow = Limits { time: Duration::from_millis(20), ..Limits::SHORT };
        let (ours, _theirs) = tokio::io::duplex(7);
        let mut wire = Wire::new(Box::new(ours));
        wire.allow(slow);
        assert!(matches!(wire.read().await, Err(MailboxError::Slow(_))));
    }

    #[test]
    fn only_an_announcement_at_the_end_is_a_literal() {
        assert_eq!(literal(b"BODY[] {12}"), Some((7, 12)));
        assert_eq!(literal(b"x {12+}"), Some((2, 12)));
        for none in ["", "}", "{}", "12}", "{1a}", "{12} ", "{-1}"] {
            assert_eq!(literal(none.as_bytes()), None, "{none}");
        }
    }
}
