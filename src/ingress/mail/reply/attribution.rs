//! The lines that introduce a quote: `On … wrote:` in any language.

use crate::ingress::mail::reply::{
    line::{Line, has_address, moment},
    quote_follows, words,
};

/// Lines over which a mailer wraps one attribution.
const LINES: usize = 4;
/// Longest attribution, in bytes.
const BYTES: usize = 500;

/// An attribution that was found.
pub(super) struct Attribution {
    /// Its first line.
    pub(super) start: usize,
    /// Whether quoted lines come next; otherwise everything after it is the quote.
    pub(super) before_quote: bool,
}

/// Looks for an attribution whose last line is `end`.
pub(super) fn ending_at(lines: &[Line<'_>], end: usize, floor: usize) -> Option<Attribution> {
    let last = &lines[end];
    if !last.is_prose() || !ends_open(last.body) {
        return None;
    }
    let before_quote = quote_follows(lines, end + 1);
    let before_list = list_follows(lines, end + 1);
    let mut joined = String::new();
    let mut found = None;
    for start in (floor..=end).rev().take(LINES) {
        let line = &lines[start];
        // Polymail breaks the line before the bracket of the address, twice.
        if line.is_blank() && joined.starts_with("< ") {
            continue;
        }
        if !line.is_prose() || (start < end && ends_sentence(line.body)) {
            break;
        }
        joined = if joined.is_empty() { line.body.to_owned() } else { format!("{} {joined}", line.body) };
        if joined.len() > BYTES {
            break;
        }
        if (Candidate { text: &joined, before_quote, before_list }).is_complete() {
            found = Some(start);
            break;
        }
    }
    let start = match found {
        Some(start) => wrapped_start(lines, start, floor),
        None if before_quote && is_hint(last.body) => end,
        None => return None,
    };
    Some(Attribution { start, before_quote })
}

/// Whether `lines[from..]` begins, after blank lines, with an item of a list.
fn list_follows(lines: &[Line<'_>], from: usize) -> bool {
    lines.iter().skip(from).take(4).find(|line| !line.is_blank()).is_some_and(|line| {
        let rest = line.body.trim_start_matches(|c: char| c.is_ascii_digit());
        line.body.starts_with(['-', '*', '•']) || (rest.len() < line.body.len() && rest.starts_with([')', '.']))
    })
}

/// Ends as an attribution may: with a colon, or with the verb between dashes.
fn ends_open(body: &str) -> bool {
    let body = body.trim_end_matches(['*', '_', ' ', '"', '\u{a0}']);
    if body.ends_with([':', '：']) {
        return true;
    }
    // Gmail in some languages: `2016-03-03 17:21 GMT+01:00 Some One`.
    if body.len() < 100 && body.starts_with(|c: char| c.is_ascii_digit()) && body.contains(" GMT") && moment(body).date
    {
        return true;
    }
    let lower = body.trim_end_matches(['-', ' ', '>', '.', ',']).to_lowercase();
    (body.ends_with("--") || body.len() < 200)
        && [
            "wrote",
            "schrieb",
            "a écrit",
            "escribió",
            "ha scritto",
            "escreveu",
            "schreef",
            "skrev",
            "写道",
            "寫道",
            "napisał(a)",
            "написал",
        ]
        .iter()
        .any(|verb| lower.ends_with(verb))
}

fn ends_sentence(body: &str) -> bool {
    body.ends_with(['.', '!', '?', ':', '。', '！', '？', '：']) && !has_abbreviation_end(body)
}

/// `Bob Jr.` or `14. Jan.` do not end a sentence.
fn has_abbreviation_end(body: &str) -> bool {
    body.ends_with('.') && moment(body).numbers > 0
}

/// Joined lines that may introduce a quote.
struct Candidate<'a> {
    text: &'a str,
    before_quote: bool,
    /// A list comes next: a sentence that ends with a colon announces one.
    before_list: bool,
}

impl Candidate<'_> {
    /// Says who and when by itself. Where no quoted lines follow, everything after it would be cut off, so it must
    /// also be built as mail programs build it: prose ends with colons too.
    fn is_complete(&self) -> bool {
        let lower = self.text.to_lowercase();
        let (address, when, verb) = (has_address(self.text), moment(self.text), words::has_verb(&lower));
        let dated = when.is_date();
        let gmail = dated && when.time && self.text.contains(" GMT");
        if self.before_quote {
            let named = verb && address && balanced(self.text) && !lower.starts_with('<');
            return (dated && (address || verb)) || (address && when.time && verb) || named || gmail;
        }
        let built = address || when.time || words::has_opener(&lower);
        let colon = self.text.trim_end_matches(['*', '_', ' ', '"']).ends_with([':', '：']);
        let closed = colon || self.text.ends_with("--") || (words::has_opener(&lower) && address);
        // A mailbox in brackets beside a full point in time, closed by a colon: the verb may be of any language.
        let boxed = dated && when.time && self.has_mailbox() && colon && self.text.chars().count() <= 200;
        // What begins in the middle of a sentence, or as lines of logs do, is prose unless it names an address.
        let begins = address || !self.text.starts_with(char::is_lowercase);
        let logged = self.text.starts_with(['[', '{']);
        if logged || !begins {
            return false;
        }
        (dated && verb && built && closed)
            || (boxed && !self.is_list() && !self.before_list && !self.text.starts_with(char::is_lowercase))
            || (address && when.time && verb && closed)
            || gmail
            || (dated && when.time && self.ends_with_mailbox())
    }

    /// Names an address between brackets, alone.
    fn has_mailbox(&self) -> bool {
        self.text.split(['<', '(']).skip(1).any(|rest| {
            let inner = rest.split(['>', ')']).next().unwrap_or_default().trim_start_matches("mailto:").trim();
            has_address(inner) && !inner.contains(char::is_whitespace)
        })
    }

    /// Begins as an item of a list or a line of a log does.
    fn is_list(&self) -> bool {
        self.text.starts_with(['-', '*', '•', '[', '{', '#'])
    }

    /// Ends with `<a@b>:`, at most a word between: the form without a verb.
    fn ends_with_mailbox(&self) -> bool {
        let Some((before, after)) = self.text.rsplit_once('>') else { return false };
        let in_brackets = before.rsplit_once('<').is_some_and(|(_, inner)| has_address(inner));
        in_brackets && after.chars().count() <= 20 && after.matches([':', '：']).count() == 1
    }
}

/// Enough when quoted lines come next.
fn is_hint(body: &str) -> bool {
    let when = moment(body);
    has_address(body) || words::has_verb(&body.to_lowercase()) || when.is_date() || (when.time && when.numbers >= 2)
}

fn balanced(joined: &str) -> bool {
    joined.matches('<').count() == joined.matches('>').count()
}

/// Goes on to the line before when the first found one is evidently the rest of it.
fn wrapped_start(lines: &[Line<'_>], start: usize, floor: usize) -> usize {
    let Some(previous) = start.checked_sub(1).filter(|previous| *previous >= floor) else { return start };
    let line = &lines[previous];
    let own = lines[start].body.to_lowercase();
    let lower = line.body.to_lowercase();
    let continues = line.is_prose()
        && !words::has_opener(&own)
        && line.body.len() < 120
        && !ends_sentence(line.body)
        && words::has_opener(&lower)
        && (moment(line.body).numbers > 0 || line.body.ends_with(','));
    // In any language: a first line with the time, or one that opens the bracket which the next one closes.
    let first = previous.checked_sub(1).is_none_or(|before| previous == floor || lines[before].body.is_empty());
    let when = moment(line.body);
    let closes =
        own.find('>').is_some_and(|at| !own[..at].contains('<')) && line.body.rfind('<') > line.body.rfind('>');
    let opens = first && line.is_prose() && line.body.len() < 120 && !ends_sentence(line.body);
    if continues || (opens && ((when.date && when.time) || closes)) { previous } else { start }
}

#[cfg(test)]
mod tests {
    use crate::ingress::mail::reply::{attribution::ending_at, line};

    fn starts(text: &str, end: usize) -> Option<usize> {
        ending_at(&line::split(text), end, 0).map(|found| found.start)
    }

    #[test]
    fn attributions_are_found_in_any_language_and_over_several_lines() {
        assert_eq!(starts("On Tue, Jan 14, 2025 at 9:12 AM Bob <bob@e.org> wrote:", 0), Some(0));
        assert_eq!(starts("ok\n\nOn Dec 16, 2011, at 12:47 PM, Corey Donohoe\n<r@e.org>\nwrote:", 4), Some(2));
        assert_eq!(starts("26.06.2014, 14:41, \"X\" <a@b.org>:", 0), Some(0));
        assert_eq!(starts("2016. 11. 8. 오후 12:39 Test <test@e.org> 작성:", 0), Some(0));
        assert_eq!(starts("Bob Example <bob@e.org> schreibt:\n\n> q", 0), Some(0));
    }

    #[test]
    fn prose_is_no_attribution() {
        assert_eq!(starts("Please move the 14:00 meeting of 14 Jan 2025 with bob@e.org to:\na", 0), None);
        assert_eq!(starts("2025-01-14 09:12 ERROR bob@e.org: failed to do these:\na", 0), None);
        assert_eq!(starts("The customer wrote on 2025-01-14 that:\na", 0), None);
        assert_eq!(starts("These 2025 items describe bob@e.org:\na", 0), None);
        assert_eq!(starts("On Monday I wrote:\nthat the price is fixed", 0), None);
        assert_eq!(starts("Am Montag um 9 Uhr schrieb der Kunde folgendes:\ner will", 0), None);
    }
}
