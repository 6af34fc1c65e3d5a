//! The words by which people end and resume text messages: a whole message, in any case.
//!
//! STOP and its kin: twilio.com/docs/messaging/tutorials/advanced-opt-out,
//! developers.telnyx.com/docs/messaging/messages/advanced-opt-in-out; French as spoken in Canada:
//! twilio.com/docs/proxy/opt-out-keywords and the Canadian short code rules (ARRET, AIDE).

/// What a word asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No more messages.
    Stop,
    /// Messages again.
    Start,
    /// To know who sends.
    Help,
}

impl Wish {
    /// The word in `Sms::opt_out`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "STOP",
            Self::Start => "START",
            Self::Help => "HELP",
        }
    }
}

/// What a whole message asks for. White space and punctuation around the word do not count.
#[must_use]
pub fn wish(text: &str) -> Option<Wish> {
    Some(match bare(text)?.as_str() {
        "STOP" | "STOPALL" | "STOP ALL" | "UNSUBSCRIBE" | "END" | "QUIT" | "CANCEL" | "REVOKE" | "OPTOUT"
        | "OPT OUT" | "OPT-OUT" | "ARRET" | "ARRÊT" | "ARRETT" | "ARRETE" | "ARRÊTE" | "ARRETER" | "ARRÊTER" => {
            Wish::Stop
        }
        "START" | "UNSTOP" => Wish::Start,
        "HELP" | "INFO" | "AIDE" => Wish::Help,
        _ => return None,
    })
}

/// What the provider itself says that a message asks for: Twilio's `OptOutType`, Telnyx' `autoresponse_type`,
/// Plivo's `MessageIntent`.
#[must_use]
pub fn wish_named(name: &str) -> Option<Wish> {
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase();
    Some(match letters.as_str() {
        "STOP" | "OPTOUT" => Wish::Stop,
        "START" | "OPTIN" => Wish::Start,
        "HELP" => Wish::Help,
        _ => return None,
    })
}

/// Whether a message means yes to messages from whoever had opted out, and is a common answer otherwise.
#[must_use]
pub fn is_yes(text: &str) -> bool {
    matches!(bare(text).as_deref(), Some("YES" | "OUI"))
}

/// The message in capitals, when it is short enough to be such a word.
fn bare(text: &str) -> Option<String> {
    let around = |c: char| c.is_whitespace() || matches!(c, '.' | '!' | '"' | '\'' | '“' | '”' | '’' | ',');
    let text = text.trim_matches(around);
    (text.len() <= 24).then(|| text.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::{Wish, is_yes, wish, wish_named};

    #[test]
    fn a_wish_is_the_whole_message() {
        for (text, expected) in [
            (" stop\r\n", Some(Wish::Stop)),
            ("Stop!", Some(Wish::Stop)),
            ("\"STOP\".", Some(Wish::Stop)),
            ("stop all", Some(Wish::Stop)),
            ("arrêt", Some(Wish::Stop)),
            ("Arret", Some(Wish::Stop)),
            ("please stop", None),
            ("stop the job", None),
            ("Unstop", Some(Wish::Start)),
            ("yes", None),
            ("Info", Some(Wish::Help)),
            ("aide", Some(Wish::Help)),
            ("", None),
        ] {
            assert_eq!(wish(text), expected, "{text}");
        }
        assert!(is_yes(" Yes. ") && !is_yes("yes please"));
    }

    #[test]
    fn providers_words_are_read_in_their_spellings() {
        for (name, expected) in [
            ("STOP", Some(Wish::Stop)),
            ("opt_out", Some(Wish::Stop)),
            ("optout", Some(Wish::Stop)),
            ("opt-in", Some(Wish::Start)),
            ("START", Some(Wish::Start)),
            ("Help", Some(Wish::Help)),
            ("", None),
            ("none", None),
        ] {
            assert_eq!(wish_named(name), expected, "{name}");
        }
    }
}
