//! Reading responses: words, lists, strings (RFC 3501 section 9). Nothing recurses; what is not known is passed over.

use jiff::fmt::strtime;

use crate::{
    domain::time::Timestamp,
    mailbox::{
        excerpt,
        wire::{Piece, Response},
    },
};

/// What a response says, as far as taking mail needs it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) uid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) arrived: Option<Timestamp>,
    /// `Some(None)`: the server has no bytes of it.
    pub(super) body: Option<Option<Bytes>>,
}

/// The bytes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Here(Vec<u8>),
    TooMany(u64),
}

/// The end of a command, or a condition of the server: `OK [CODE …] words`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition<'a> {
    /// In upper case: `OK`, `NO`, `BAD`, `BYE`, `PREAUTH`.
    pub(super) status: Vec<u8>,
    /// What stands in the brackets; empty without any.
    pub(super) code: &'a [u8],
    text: &'a [u8],
}

impl<'a> Condition<'a> {
    /// Reads the text behind `* ` or a tag; `None` when it is something else.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let (status, rest) = word(text);
        let status = status.to_ascii_uppercase();
        if ![&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].contains(&&*status) {
            return None;
        }
        let code = rest.strip_prefix(b"[").and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b']')?;
            Some(&rest[..end])
        });
        Some(Self { status, code: code.unwrap_or_default(), text: rest })
    }

    pub(super) fn is(&self, status: &str) -> bool {
        self.status == status.as_bytes()
    }

    /// The number of a code such as `UIDNEXT 17`.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let (known, rest) = word(self.code);
        if known.eq_ignore_ascii_case(name.as_bytes()) { number(word(rest).0) } else { None }
    }

    /// The server's words, safe to show.
    pub(super) fn shown(&self) -> String {
        excerpt(self.text)
    }
}

/// The first word and what follows the space behind it.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

/// A number as IMAP writes it.
pub(super) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The items of `FETCH (…)`, the parenthesis being what comes next. `None` when it cannot be read.
pub(super) fn items(mut response: Response, skip: usize) -> Option<Fetched> {
    let mut fetched = Fetched::default();
    let mut scanner = Scanner { pieces: &mut response.0, piece: 0, at: skip };
    scanner.take(b'(')?;
    loop {
        scanner.spaces();
        if scanner.take(b')').is_some() {
            return Some(fetched);
        }
        let name = scanner.name()?;
        scanner.take(b' ')?;
        match &*name {
            b"UID" => fetched.uid = number(&scanner.atom()?),
            b"RFC822.SIZE" => fetched.size = number(&scanner.atom()?),
            b"INTERNALDATE" => {
                fetched.arrived = match scanner.string()? {
                    Some(Bytes::Here(text)) => arrived(&text),
                    Some(Bytes::TooMany(_)) | None => None,
                };
            }
            b"BODY[]" => fetched.body = Some(scanner.string()?),
            _ => scanner.pass()?,
        }
    }
}

/// `17-Jul-1996 02:44:25 -0700`, the day padded with a space.
fn arrived(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let zoned = strtime::parse("%e-%b-%Y %H:%M:%S %z", text.trim()).ok()?;
    zoned.to_timestamp().ok().map(|at| Timestamp(at.as_millisecond()))
}

struct Scanner<'p> {
    pieces: &'p mut Vec<Piece>,
    piece: usize,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        match self.pieces.get(self.piece)? {
            Piece::Text(text) => text.get(self.at).copied(),
            Piece::Literal(_) | Piece::Skipped(_) => None,
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn spaces(&mut self) {
        while self.take(b' ').is_some() {}
    }

    /// Up to a space, a parenthesis or the end.
    fn atom(&mut self) -> Option<Vec<u8>> {
        let mut atom = Vec::new();
        while let Some(byte) = self.peek().filter(|byte| !b" ()\"".contains(byte)) {
            atom.push(byte);
            self.at += 1;
        }
        (!atom.is_empty()).then_some(atom)
    }

    /// An item's name in upper case; in brackets everything belongs to it.
    fn name(&mut self) -> Option<Vec<u8>> {
        let (mut name, mut inside) = (Vec::new(), false);
        while let Some(byte) = self.peek().filter(|byte| inside || !b" ()\"".contains(byte)) {
            inside = (inside || byte == b'[') && byte != b']';
            name.push(byte.to_ascii_uppercase());
            self.at += 1;
        }
        (!name.is_empty()).then_some(name)
    }

    /// A quoted string, a literal, or `NIL`.
    fn string(&mut self) -> Option<Option<Bytes>> {
        if self.at_end_of_text() {
            return self.literal().map(Some);
        }
        if self.peek()? == b'"' {
            return self.quoted().map(|text| Some(Bytes::Here(text)));
        }
        self.atom()?.eq_ignore_ascii_case(b"NIL").then_some(None)
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        self.take(b'"')?;
        let mut text = Vec::new();
        loop {
            let mut byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(text),
                b'\\' => {
                    byte = self.peek()?;
                    self.at += 1;
                }
                _ => {}
            }
            text.push(byte);
        }
    }

    fn at_end_of_text(&self) -> bool {
        matches!(self.pieces.get(self.piece), Some(Piece::Text(text)) if text.len() == self.at)
    }

    fn literal(&mut self) -> Option<Bytes> {
        let taken = std::mem::replace(self.pieces.get_mut(self.piece + 1)?, Piece::Skipped(0));
        self.piece += 2;
        self.at = 0;
        Some(match taken {
            Piece::Literal(bytes) => Bytes::Here(bytes),
            Piece::Skipped(size) => Bytes::TooMany(size),
            Piece::Text(_) => return None,
        })
    }

    /// Passes over a value of any kind, lists in lists included.
    fn pass(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            if self.at_end_of_text() {
                self.literal()?;
            } else {
                match self.peek()? {
                    b'(' => {
                        depth += 1;
                        self.at += 1;
                    }
                    b')' => {
                        depth = depth.checked_sub(1)?;
                        self.at += 1;
                    }
                    b'"' => drop(self.quoted()?),
                    b' ' if depth > 0 => self.at += 1,
                    _ => drop(self.name()?),
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Condition, Fetched, arrived, items};
    use crate::{
        domain::time::Timestamp,
        mailbox::wire::{Piece, Response},
    };

    fn text(text: &str) -> Piece {
        Piece::Text(text.as_bytes().to_vec())
    }

    fn read(line: &str) -> Option<Fetched> {
        items(Response(vec![text(line)]), 0)
    }

    #[test]
    fn items_come_in_any_order_among_others() {
        let deep = "(".repeat(100_000) + &")".repeat(100_000);
        let fetched = read(&format!(
            "(FLAGS (\\Seen $Junk) X \"a \\\" b\" BODYSTRUCTURE {deep} RFC822.SIZE 4827313 \
             BODY[HEADER.FIELDS (DATE FROM)] NIL INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" UID 4827)"
        ));
        let fetched = fetched.unwrap();
        assert_eq!((fetched.uid, fetched.size), (Some(4827), Some(4_827_313)));
        assert_eq!(fetched.arrived, Some(Timestamp(837_596_665_000)));
        assert_eq!(fetched.body, None);
        let literal = Response(vec![text("(BODY[] "), Piece::Literal(b"Hi".to_vec()), text(" UID 3)")]);
        let fetched = items(literal, 0).unwrap();
        assert_eq!((fetched.uid, fetched.body), (Some(3), Some(Some(Bytes::Here(b"Hi".to_vec())))));
        assert_eq!(read("(BODY[] \"short\")").unwrap().body, Some(Some(Bytes::Here(b"short".to_vec()))));
        assert_eq!(read("(UID 5 BODY[] NIL)").unwrap().body, Some(None));
    }

    #[test]
    fn what_is_no_list_of_items_is_nothing() {
        for line in ["", "(", "(UID", "(UID 5", "UID 5", "(UID 5 X (a b)", "(X \"a)", "(X ))", "(BODY[ 5)", "(X y"] {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(read("(UID 99999999999)").unwrap().uid, None);
    }

    #[test]
    fn conditions_are_read_with_their_code() {
        let condition = Condition::read(b"ok [UIDNEXT 4392] Predicted\x1b[2J next UID").unwrap();
        assert!(condition.is("OK"));
        assert_eq!(condition.number("uidnext"), Some(4392));
        assert_eq!(condition.shown(), "[UIDNEXT 4392] Predicted [2J next UID");
        assert_eq!(Condition::read(b"172 EXISTS"), None);
    }

    #[test]
    fn the_day_may_be_padded() {
        assert_eq!(arrived(b" 1-Feb-2026 00:00:00 +0000"), Some(Timestamp(1_769_904_000_000)));
        assert_eq!(arrived(b"soon"), None);
    }
}
