//! Calendar entries in a mail (RFC 5545): what somebody is invited to.

use crate::{
    domain::{
        event::Mailbox,
        mail::{Attendee, Invite},
        template::clip,
    },
    ingress::mail::{clean, decode},
};

/// Bytes of one calendar that are read.
const CALENDAR_BYTES: usize = 512 * 1024;
/// Entries of one calendar that are kept.
const ENTRIES: usize = 20;
/// People of one entry that are kept.
const PEOPLE: usize = 200;
/// Bytes of a short value, such as the summary.
const LINE_BYTES: usize = 1000;
/// Bytes of a description.
const TEXT_BYTES: usize = 20_000;

/// The entries of an iCalendar object; alarms and time zones are no entries.
pub(super) fn read(bytes: &[u8]) -> Vec<Invite> {
    let text = decode::undeclared(bytes.get(..bytes.len().min(CALENDAR_BYTES)).unwrap_or_default());
    let mut reader = Reader::default();
    for line in unfolded(&text) {
        if let Some(property) = Property::read(&line) {
            reader.property(&property);
        }
        if reader.found.len() >= ENTRIES {
            break;
        }
    }
    let method = reader.method;
    reader.found.into_iter().map(|entry| Invite { method: method.clone(), ..entry }).collect()
}

/// A continued line begins with a blank (RFC 5545 §3.1).
fn unfolded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some(last)) => last.push_str(rest),
            (_, _) => lines.push(line.to_owned()),
        }
    }
    lines
}

#[derive(Default)]
struct Reader {
    method: String,
    /// Components that are open within the entry.
    within: usize,
    entry: Option<Invite>,
    duration: Option<String>,
    found: Vec<Invite>,
}

impl Reader {
    fn property(&mut self, property: &Property<'_>) {
        let is_entry = matches!(property.value.trim().to_ascii_uppercase().as_str(), "VEVENT" | "VTODO");
        match (property.name.as_str(), &mut self.entry) {
            ("BEGIN", Some(_)) => self.within += 1,
            ("BEGIN", None) if is_entry => {
                (self.entry, self.duration, self.within) = (Some(Invite::default()), None, 0);
            }
            ("END", Some(_)) if self.within > 0 => self.within -= 1,
            ("END", Some(_)) => self.end_entry(),
            ("METHOD", None) => self.method = property.line().to_ascii_uppercase(),
            ("DURATION", Some(_)) if self.within == 0 => self.duration = Some(property.value.trim().to_owned()),
            (_, Some(entry)) if self.within == 0 => property.tell(entry),
            (_, _) => {}
        }
    }

    fn end_entry(&mut self) {
        let Some(mut entry) = self.entry.take() else { return };
        if entry.end.is_empty()
            && let Some(end) = self.duration.take().and_then(|duration| end_of(&entry.start, &duration))
        {
            entry.end = end;
        }
        self.found.push(entry);
    }
}

/// One content line.
struct Property<'a> {
    name: String,
    parameters: Vec<(String, &'a str)>,
    value: &'a str,
}

impl<'a> Property<'a> {
    /// `name *(";" name "=" value) ":" value`; values in quotes may hold any of these.
    fn read(line: &'a str) -> Option<Self> {
        let mut quoted = false;
        let mut cuts = Vec::new();
        let mut colon = None;
        for (at, byte) in line.bytes().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b';' if !quoted && cuts.len() < 50 => cuts.push(at),
                b':' if !quoted => {
                    colon = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let colon = colon?;
        let name_end = cuts.first().copied().unwrap_or(colon);
        let ends = cuts.iter().skip(1).copied().chain([colon]);
        let parameters = cuts.iter().zip(ends).filter_map(|(start, end)| {
            let (name, value) = line.get(start + 1..end)?.split_once('=')?;
            Some((name.to_ascii_uppercase(), value.trim_matches('"')))
        });
        Some(Self {
            name: line.get(..name_end)?.trim().to_ascii_uppercase(),
            parameters: parameters.collect(),
            value: line.get(colon + 1..)?,
        })
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// The value as text on one line.
    fn line(&self) -> String {
        clip(&clean::line(&unescaped(self.value)), LINE_BYTES).to_owned()
    }

    fn tell(&self, entry: &mut Invite) {
        match self.name.as_str() {
            "UID" => entry.uid = self.line(),
            "SUMMARY" => entry.summary = self.line(),
            "LOCATION" => entry.location = self.line(),
            "STATUS" => entry.status = self.line().to_ascii_uppercase(),
            "RRULE" => entry.repeats = Some(self.line()),
            "SEQUENCE" => entry.sequence = self.value.trim().parse().unwrap_or(0),
            "DESCRIPTION" => {
                entry.description = clip(&clean::text(&unescaped(self.value)), TEXT_BYTES).to_owned();
            }
            "DTSTART" => entry.start = self.time(),
            "DTEND" | "DUE" => entry.end = self.time(),
            "ORGANIZER" => entry.organizer = Some(Mailbox { address: self.address(), name: self.common_name() }),
            "ATTENDEE" if entry.attendees.len() < PEOPLE => entry.attendees.push(Attendee {
                address: self.address(),
                name: self.common_name(),
                answer: self
                    .parameter("PARTSTAT")
                    .map(|answer| clean::line(answer).to_ascii_uppercase())
                    .unwrap_or_default(),
            }),
            _ => {}
        }
    }

    fn address(&self) -> String {
        let value = clean::line(self.value);
        let is_mail = value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
        clip(if is_mail { value.get(7..).unwrap_or("") } else { &value }, LINE_BYTES).to_owned()
    }

    fn common_name(&self) -> Option<String> {
        self.parameter("CN").map(|name| clip(&clean::line(name), LINE_BYTES).to_owned()).filter(|name| !name.is_empty())
    }

    /// `20250114T100000Z` as `2025-01-14T10:00:00Z`, in another zone as `2025-01-14T10:00:00 Europe/Berlin`; a date
    /// as a date. What is none of these stays as it is.
    fn time(&self) -> String {
        let value = clean::line(self.value);
        let spelled = spelled(&value).unwrap_or(value);
        match self.parameter("TZID").filter(|_| !spelled.ends_with('Z')) {
            Some(zone) => format!("{spelled} {}", clip(&clean::line(zone), LINE_BYTES)),
            None => clip(&spelled, LINE_BYTES).to_owned(),
        }
    }
}

fn spelled(value: &str) -> Option<String> {
    let part =
        |from: usize, to: usize| value.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    if value.len() == 8 {
        return Some(date);
    }
    let rest = value.get(8..)?.strip_prefix('T')?;
    let zone = if rest.ends_with('Z') { "Z" } else { "" };
    Some(format!("{date}T{}:{}:{}{zone}", part(9, 11)?, part(11, 13)?, part(13, 15).unwrap_or("00")))
}

/// The start and so much more.
fn end_of(start: &str, duration: &str) -> Option<String> {
    let (time, zone) = start.split_once(' ').map_or((start, ""), |(time, zone)| (time, zone));
    let span: jiff::Span = duration.parse().ok()?;
    if let Ok(date) = time.parse::<jiff::civil::Date>()
        && time.len() == 10
    {
        return date.checked_add(span).ok().map(|date| date.to_string());
    }
    let bare = time.strip_suffix('Z');
    let begin: jiff::civil::DateTime = bare.unwrap_or(time).parse().ok()?;
    let end = begin.checked_add(span).ok()?.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    Some(format!("{end}{}{}{zone}", if bare.is_some() { "Z" } else { "" }, if zone.is_empty() { "" } else { " " }))
}

/// RFC 5545 §3.3.11.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::read;

    const INVITE: &str = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VTIMEZONE\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n\
        BEGIN:VEVENT\r\nUID:a@b\r\nSEQUENCE:2\r\nSUMMARY:Review\\, part\r\n  two\r\nDTSTART;TZID=\"Europe/Berlin\":20250114T100000\r\nDURATION:PT1H30M\r\n\
        LOCATION:Room 1\r\nORGANIZER;CN=\"Doe; Jane\":MAILTO:jane@e.org\r\nATTENDEE;PARTSTAT=NEEDS-ACTION;CN=Al:mailto:al@e.org\r\n\
        DESCRIPTION:one\\ntwo\r\nBEGIN:VALARM\r\nDESCRIPTION:wake\r\nEND:VALARM\r\nSTATUS:CONFIRMED\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn an_invitation_is_read_with_its_folds_and_escapes() {
        let found = read(INVITE.as_bytes());
        let [invite] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((invite.method.as_str(), invite.uid.as_str(), invite.sequence), ("REQUEST", "a@b", 2));
        assert_eq!((invite.summary.as_str(), invite.location.as_str()), ("Review, part two", "Room 1"));
        assert_eq!(invite.start, "2025-01-14T10:00:00 Europe/Berlin");
        assert_eq!(invite.end, "2025-01-14T11:30:00 Europe/Berlin");
        let organizer = invite.organizer.as_ref().unwrap();
        assert_eq!((organizer.address.as_str(), organizer.name.as_deref()), ("jane@e.org", Some("Doe; Jane")));
        assert_eq!(invite.attendees[0].answer, "NEEDS-ACTION");
        assert_eq!((invite.description.as_str(), invite.status.as_str()), ("one\ntwo", "CONFIRMED"));
    }

    #[test]
    fn dates_and_utc_are_spelled_out() {
        let entry = |lines: &str| read(format!("BEGIN:VEVENT\n{lines}\nEND:VEVENT").as_bytes()).remove(0);
        let day = entry("DTSTART;VALUE=DATE:20250114\nDURATION:P1D");
        assert_eq!((day.start.as_str(), day.end.as_str()), ("2025-01-14", "2025-01-15"));
        let utc = entry("DTSTART:20250114T100000Z\nDTEND:20250114T103000Z");
        assert_eq!((utc.start.as_str(), utc.end.as_str()), ("2025-01-14T10:00:00Z", "2025-01-14T10:30:00Z"));
        assert_eq!(entry("DTSTART:soon").start, "soon");
    }

    #[test]
    fn hostile_calendars_end_in_bounds() {
        let many = "BEGIN:VEVENT\nSUMMARY:x\nEND:VEVENT\n".repeat(100_000);
        assert_eq!(read(many.as_bytes()).len(), 20);
        assert!(read("BEGIN:VEVENT\n".repeat(100_000).as_bytes()).is_empty());
        assert!(read("X;".repeat(100_000).as_bytes()).is_empty());
        assert!(
            read(format!("BEGIN:VEVENT\nSUMMARY:{}\nEND:VEVENT", "\n a".repeat(100_000)).as_bytes())[0].summary.len()
                <= 1000
        );
    }
}
