//! Whether a pattern of `from` names somebody, or fits whoever wants to be fitted.

use crate::domain::organisation::{a_labels, organisational};

/// Digits that a country code has at most (ITU-T E.164): a number of which no more is fixed may be anybody's.
const COUNTRY_DIGITS: usize = 3;

/// First labels of domains, under whatever suffix, where anybody gets an address.
const MAIL_FOR_ALL: [&str; 9] =
    ["yahoo", "hotmail", "outlook", "live", "gmx", "yandex", "protonmail", "googlemail", "ymail"];

/// Other domains where anybody gets an address.
const MAIL_FOR_ALL_DOMAINS: [&str; 52] = [
    "126.com",
    "163.com",
    "aim.com",
    "aol.com",
    "att.net",
    "bigpond.com",
    "bluewin.ch",
    "btinternet.com",
    "comcast.net",
    "daum.net",
    "duck.com",
    "email.com",
    "fastmail.com",
    "fastmail.fm",
    "foxmail.com",
    "free.fr",
    "freenet.de",
    "gmail.com",
    "guerrillamail.com",
    "hanmail.net",
    "hey.com",
    "hushmail.com",
    "icloud.com",
    "inbox.ru",
    "laposte.net",
    "libero.it",
    "mac.com",
    "mail.com",
    "mail.ru",
    "mailbox.org",
    "mailinator.com",
    "me.com",
    "msn.com",
    "naver.com",
    "orange.fr",
    "pm.me",
    "posteo.de",
    "proton.me",
    "qq.com",
    "rambler.ru",
    "rediffmail.com",
    "rocketmail.com",
    "sbcglobal.net",
    "seznam.cz",
    "t-online.de",
    "tuta.io",
    "tutanota.com",
    "verizon.net",
    "virgilio.it",
    "web.de",
    "wp.pl",
    "zoho.com",
];

/// Whether a pattern of `from` fits people whom its author cannot know: everybody (`*`), a country (`+49*`), a suffix
/// that is not one organisation's (`*.com`, `*@example.*`), or all addresses of a mail provider (`*@gmail.com`).
#[must_use]
pub fn names_nobody(pattern: &str) -> bool {
    let pattern = pattern.trim().to_lowercase();
    if !pattern.contains('*') {
        return !pattern.chars().any(char::is_alphanumeric);
    }
    if let Some(digits) = number(&pattern) {
        return digits <= COUNTRY_DIGITS;
    }
    let (local, domain) = pattern.rsplit_once('@').unwrap_or(("*", &pattern));
    let Some(fixed) = fixed_domain(domain) else { return true };
    // One name is one person's, wherever the address is.
    local.contains('*') && is_for_all(fixed)
}

/// How many digits of a telephone number the pattern fixes; `None` when it is for something else.
fn number(pattern: &str) -> Option<usize> {
    let (channel, number) = pattern.split_once(':').unwrap_or(("", pattern));
    let is_number = !channel.contains('@') && number.bytes().all(|byte| byte.is_ascii_digit() || b"+*".contains(&byte));
    is_number.then(|| number.split('*').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count())
}

/// The domain in which all that fits lies; `None` when it is no single organisation's.
fn fixed_domain(domain: &str) -> Option<&str> {
    let fixed = match domain.rsplit_once('*') {
        None => domain,
        // Of `*x.example.com` the first label may be anything; of `*example.com` it is the organisation.
        Some((_, rest)) => rest.split_once('.')?.1,
    };
    let is_internal = !domain.contains('*') && !fixed.contains('.') && !fixed.is_empty();
    (is_internal || organisational(&a_labels(fixed)).is_some()).then_some(fixed)
}

fn is_for_all(domain: &str) -> bool {
    let domain = a_labels(domain);
    let Some(own) = organisational(&domain) else { return false };
    let label = own.split('.').next().unwrap_or_default();
    MAIL_FOR_ALL.contains(&label) || MAIL_FOR_ALL_DOMAINS.contains(&own)
}

#[cfg(test)]
mod tests {
    use super::{MAIL_FOR_ALL_DOMAINS, names_nobody};

    #[test]
    fn a_pattern_for_people_whom_nobody_knows_names_nobody() {
        for pattern in [
            "*",
            "*@*",
            "**",
            "+*",
            "*.*",
            "",
            "@",
            "*.com",
            "*@*.com",
            "*@*.co.uk",
            "*@co.uk",
            "*@example.*",
            "ceo@*",
            "dana@*.com",
            "*example.com",
            "*@*example.com",
            "dana*",
            "*[bot]",
            "*@gmail.com",
            "d*@Gmail.com",
            "*@yahoo.co.uk",
            "*@*.gmx.de",
            "+1*",
            "+49*",
            "49*",
            "+353*",
            "+*555",
            "whatsapp:*",
            "whatsapp:+1*",
        ] {
            assert!(names_nobody(pattern), "{pattern}");
        }
    }

    #[test]
    fn an_organisation_a_person_and_a_block_of_numbers_are_somebody() {
        for pattern in [
            "*@example.com",
            "*@*.example.com",
            "*.example.co.uk",
            "*-team@example.com",
            "*@mail-*.example.com",
            "*@bücher.example",
            "dana@gmail.com",
            "dana@example.com",
            "*@intranet",
            "octocat",
            "U0123ABC",
            "+1555*",
            "+15550001111",
            "whatsapp:+1555000*",
        ] {
            assert!(!names_nobody(pattern), "{pattern}");
        }
    }

    #[test]
    fn the_domains_are_sorted_and_each_is_one_organisation() {
        assert!(MAIL_FOR_ALL_DOMAINS.is_sorted());
        assert!(MAIL_FOR_ALL_DOMAINS.iter().all(|domain| names_nobody(&format!("*@{domain}"))));
    }
}
