//! Instants and spans as the product stores and shows them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since the Unix epoch. Columns hold the number; JSON shows RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads an instant: RFC 3339, a day (its beginning in UTC), or how long before `now` (`2h`).
    ///
    /// # Errors
    /// What is wrong, with examples of what is right.
    pub fn parse_or_ago(text: &str, now: Self) -> Result<Self, String> {
        if let Ok(Span(ms)) = Span::parse(text) {
            return Ok(now.plus_ms(-ms));
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at.as_millisecond()));
        }
        // What is longer has a time, which would be dropped.
        let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
        match day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok()) {
            Some(start) => Ok(Self(start.timestamp().as_millisecond())),
            None => {
                Err(format!("`{text}` is no time; write 2026-11-21T14:00:00Z, 2026-11-21, or 2h for two hours ago"))
            }
        }
    }

    /// This instant moved by `ms` milliseconds; saturates at the ends of the range.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        Ok(Self(at.as_millisecond()))
    }
}

/// A span written as people write it: `500ms`, `30s`, `15m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(
    /// Milliseconds, never negative.
    pub i64,
);

impl Span {
    /// The span as the standard library's type.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.unsigned_abs())
    }

    /// Reads `15m` and its kind.
    ///
    /// # Errors
    /// What is wrong, with an example of what is right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let scale = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(format!("`{text}` is not a time span; write 500ms, 30s, 15m, 2h or 7d")),
        };
        digits
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(scale))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a time span; write 500ms, 30s, 15m, 2h or 7d"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if self.0 != 0 && self.0 % scale == 0 {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^[0-9]+(ms|s|m|h|d)$",
            "description": "A time span: 500ms, 30s, 15m, 2h, 7d"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, Timestamp};

    #[test]
    fn spans_read_and_print_alike() {
        for text in ["500ms", "30s", "15m", "2h", "7d"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        assert!(Span::parse("15").unwrap_err().contains("15m"));
        assert!(Span::parse("99999999999999999d").is_err());
    }

    #[test]
    fn instants_are_read_as_people_write_them() {
        let now = Timestamp(1_795_000_000_123);
        assert_eq!(Timestamp::parse_or_ago("2h", now), Ok(now.plus_ms(-7_200_000)));
        assert_eq!(Timestamp::parse_or_ago("2026-11-18T11:06:40.123Z", now), Ok(now));
        assert_eq!(Timestamp::parse_or_ago("2026-11-18T12:06:40.123+01:00", now), Ok(now));
        assert_eq!(Timestamp::parse_or_ago("2026-11-18", now).unwrap().to_string(), "2026-11-18T00:00:00.000Z");
        for text in ["", "yesterday", "2026-13-01", "2026-11-18T11:06", "-2h"] {
            assert!(Timestamp::parse_or_ago(text, now).unwrap_err().contains("2h"), "{text}");
        }
    }

    #[test]
    fn instants_survive_json() {
        let at = Timestamp(1_795_000_000_123);
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(json, "\"2026-11-18T11:06:40.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
    }
}
