//! How many things a time: `5/s`, `300/m`, `1000/h`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::time::Timestamp;

/// A number of things a time, spread evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    count: i64,
    per_ms: i64,
    unit: char,
}

impl Pace {
    /// Reads `5/s` and its kind.
    ///
    /// # Errors
    /// What is wrong, with an example of what is right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate; write 5/s, 300/m or 1000/h");
        let (count, unit) = text.trim().split_once('/').ok_or_else(wrong)?;
        let (unit, per_ms) = match unit {
            "s" => ('s', 1_000),
            "m" => ('m', 60_000),
            "h" => ('h', 3_600_000),
            _ => return Err(wrong()),
        };
        match count.parse::<i64>() {
            Ok(count) if (1..=1_000_000).contains(&count) => Ok(Self { count, per_ms, unit }),
            Ok(_) | Err(_) => Err(wrong()),
        }
    }

    /// When the `number`th thing is due, counted from 0, if the first is due at `start`.
    #[must_use]
    pub const fn due(self, start: Timestamp, number: i64) -> Timestamp {
        start.plus_ms(number.saturating_mul(self.per_ms) / self.count)
    }
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}

impl Serialize for Pace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use crate::domain::time::Timestamp;

    #[test]
    fn things_are_spread_evenly() {
        let pace = Pace::parse("5/s").unwrap();
        let due: Vec<i64> = (0..7).map(|number| pace.due(Timestamp(1_000), number).0).collect();
        assert_eq!(due, [1_000, 1_200, 1_400, 1_600, 1_800, 2_000, 2_200]);
        assert_eq!(Pace::parse("1000000/h").unwrap().due(Timestamp(0), 1_000_000).0, 3_600_000);
        for text in ["5/s", "300/m", "1000/h"] {
            assert_eq!(Pace::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "5", "0/s", "-1/s", "5/d", "1.5/s", "9999999/s"] {
            assert!(Pace::parse(text).unwrap_err().contains("5/s"), "{text}");
        }
    }
}
