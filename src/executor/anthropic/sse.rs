//! Server-sent events, as they come: lines to events (html.spec.whatwg.org, "Interpreting an event stream").

/// Bytes of one event, and of one line, at most.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// An event or a line is longer than anything that the API sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Splits a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_cr: bool,
    begun: bool,
}

/// What came with a chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    /// The data of each event that is complete.
    pub(super) events: Vec<String>,
    /// Whether the other side gave a sign of life: an event, or a comment.
    pub(super) is_alive: bool,
}

impl Events {
    /// The events that `chunk` completes.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Came, TooLong> {
        let mut came = Came::default();
        let mut rest = chunk;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.keep(rest)?;
                break;
            };
            let (head, tail) = rest.split_at(at);
            self.keep(head)?;
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.end_line(&mut came)?;
        }
        came.is_alive |= !came.events.is_empty();
        Ok(came)
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + part.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self, came: &mut Came) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                came.events.push(String::from_utf8_lossy(&data).into_owned());
            }
            return Ok(());
        }
        if line.first() == Some(&b':') {
            came.is_alive = true;
            return Ok(());
        }
        let Some(value) = line.strip_prefix(b"data").filter(|rest| rest.is_empty() || rest.first() == Some(&b':'))
        else {
            return Ok(());
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) if data.len() + value.len() >= MAX_EVENT_BYTES => return Err(TooLong),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Events, MAX_EVENT_BYTES, TooLong};

    fn read(chunks: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        chunks.iter().flat_map(|chunk| events.push(chunk).unwrap().events).collect()
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_split() {
        let text =
            "\u{feff}event: a\ndata: {\"x\":\"ä\"}\n\n: hello\r\ndata:one\r\ndata: two\r\n\r\ndata\rid: 7\r\rdata: cut"
                .as_bytes();
        let whole = ["{\"x\":\"ä\"}", "one\ntwo", ""];
        for at in 0..=text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(read(&[head, tail]), whole, "split at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(&bytes), whole);
    }

    #[test]
    fn comments_and_events_are_signs_of_life_and_pieces_are_not() {
        let mut events = Events::default();
        let alive: Vec<bool> = ["data: a", "b\n", ":\n", "\n", "\n"]
            .iter()
            .map(|part| events.push(part.as_bytes()).unwrap().is_alive)
            .collect();
        assert_eq!(alive, [false, false, true, true, false]);
    }

    #[test]
    fn what_never_ends_is_refused() {
        let chunk = vec![b'x'; 1 << 20];
        let feed = |line: &[u8]| {
            let mut events = Events::default();
            (0..=2 * MAX_EVENT_BYTES / chunk.len()).find_map(|_| events.push(line).err())
        };
        assert_eq!(feed(&chunk), Some(TooLong));
        assert_eq!(feed(&[b"data: ".as_slice(), &chunk, b"\n"].concat()), Some(TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let parts: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(read(&parts), read(&[&chunks.concat()]));
        }
    }
}
