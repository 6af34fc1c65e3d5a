//! How many parts a text message is sent and billed in (GSM 03.38, 3GPP TS 23.040).

/// The characters of a text message's two encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Seven bits a character: 160 in one part, 153 in each of several.
    Gsm7,
    /// Sixteen bits a unit: 70 in one part, 67 in each of several.
    Ucs2,
}

impl Encoding {
    /// The encoding that `text` needs: one character outside GSM-7 changes it for all.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.chars().all(|c| septets(c).is_some()) { Self::Gsm7 } else { Self::Ucs2 }
    }

    /// The name in providers' documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }
}

/// The parts that `text` is sent in, at least one. A character is never split over two parts.
#[must_use]
pub fn segments(text: &str) -> usize {
    let encoding = Encoding::of(text);
    let size = |c: char| match encoding {
        Encoding::Gsm7 => septets(c).unwrap_or(1),
        Encoding::Ucs2 => c.len_utf16(),
    };
    let (alone, each) = match encoding {
        Encoding::Gsm7 => (160, 153),
        Encoding::Ucs2 => (70, 67),
    };
    if text.chars().map(size).sum::<usize>() <= alone {
        return 1;
    }
    let mut parts = 1;
    let mut used = 0;
    for size in text.chars().map(size) {
        if used + size > each {
            parts += 1;
            used = 0;
        }
        used += size;
    }
    parts
}

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

fn septets(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Encoding, segments};

    #[test]
    fn parts_are_counted_as_the_provider_counts_them() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/outbound/sms-segments.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let got = (Encoding::of(text).name(), segments(text) as u64);
            assert_eq!(
                got,
                (case["encoding"].as_str().unwrap(), case["segments"].as_u64().unwrap()),
                "{}",
                case["name"]
            );
        }
    }
}
