//! What makes a sender look like somebody else. Flags are shown; they decide nothing.

use crate::domain::{
    event::{Email, SenderFlag},
    organisation::{a_labels, organisational},
};

/// Letters of a domain's name from which one wrong letter counts as a look-alike: short names are often near.
const SHORTEST_TYPED: usize = 7;

/// What the mail itself shows.
#[must_use]
pub fn of(email: &Email) -> Vec<SenderFlag> {
    let mut flags = Vec::new();
    if email.from.len() > 1 || email.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("from")).count() > 1 {
        flags.push(SenderFlag::SeveralFrom);
    }
    let Some(from) = email.from.first() else { return flags };
    if from.name.as_deref().is_some_and(|name| names_another(name, &from.address)) {
        flags.push(SenderFlag::AddressInName);
    }
    let domain = domain_of(&from.address);
    if email.reply_to.iter().any(|reply| organisation(&domain_of(&reply.address)) != organisation(&domain)) {
        flags.push(SenderFlag::ReplyToElsewhere);
    }
    if shown(&domain).split('.').any(has_mixed_scripts) {
        flags.push(SenderFlag::MixedScripts);
    }
    flags
}

/// Whether the address looks like one that somebody is allowed to write from, and is another. `allowed` are patterns of
/// triggers.
#[must_use]
pub fn looks_like<'a>(address: &str, mut allowed: impl Iterator<Item = &'a str>) -> bool {
    let domain = organisation(&domain_of(address));
    allowed.any(|pattern| {
        let known = organisation(&domain_of(pattern));
        !known.is_empty() && !known.contains('*') && known != domain && is_near(&domain, &known)
    })
}

fn is_near(domain: &str, known: &str) -> bool {
    let (seen, meant) = (skeleton(domain), skeleton(known));
    let (name, meant_name) = (first_label(&seen), first_label(&meant));
    seen == meant
        || (seen.split_once('.').map(|(_, rest)| rest) == meant.split_once('.').map(|(_, rest)| rest)
            && meant_name.chars().count() >= SHORTEST_TYPED
            && strsim::osa_distance(name, meant_name) == 1)
}

fn first_label(domain: &str) -> &str {
    domain.split('.').next().unwrap_or_default()
}

/// Whether a display name holds an address that is not the sender's: programs that hide addresses show the name alone.
fn names_another(name: &str, address: &str) -> bool {
    let words = name.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '"' | '\'' | ',' | ';'));
    words.filter_map(|word| Some((word, word.rsplit_once('@')?))).any(|(word, (local, domain))| {
        !local.is_empty() && domain.contains('.') && !word.trim_end_matches('.').eq_ignore_ascii_case(address)
    })
}

fn domain_of(address: &str) -> String {
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
    if domain.contains('*') { domain.to_lowercase() } else { a_labels(domain) }
}

fn organisation(domain: &str) -> String {
    organisational(domain).unwrap_or(domain).to_owned()
}

/// The domain as people see it.
fn shown(domain: &str) -> String {
    idna::domain_to_unicode(domain).0
}

/// Letters of more than one of the scripts whose letters look alike.
fn has_mixed_scripts(label: &str) -> bool {
    let has = |script: fn(&char) -> bool| label.chars().any(|c| script(&c));
    let latin = has(|c| c.is_ascii_alphabetic() || matches!(c, 'à'..='ɏ'));
    let greek = has(|c| matches!(c, '\u{370}'..='\u{3ff}'));
    let cyrillic = has(|c| matches!(c, '\u{400}'..='\u{52f}'));
    [latin, greek, cyrillic].into_iter().filter(|found| *found).count() > 1
}

/// What a hurried reader sees: letters of other scripts, accents and digits as the Latin letters that they look like
/// (after Unicode's confusables, the part that is in use in names).
fn skeleton(domain: &str) -> String {
    let letters: String = shown(domain).chars().flat_map(char::to_lowercase).filter_map(alike).collect();
    // `l` is `i` by now.
    letters.replace("rn", "m").replace("vv", "w").replace("ci", "d")
}

/// `None` for what is not seen at all.
fn alike(c: char) -> Option<char> {
    Some(match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{ad}' => return None,
        'а' | 'α' | 'à'..='å' | 'ā' | 'ă' | 'ą' | 'ạ' | 'ả' => 'a',
        'в' | 'β' | 'ь' => 'b',
        'с' | 'ϲ' | 'ç' | 'ć' | 'č' => 'c',
        'ԁ' | 'ď' | 'đ' => 'd',
        'е' | 'ё' | 'ε' | 'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' | 'ẹ' => 'e',
        'ɡ' | 'ğ' | 'ģ' | 'ġ' => 'g',
        'һ' | 'н' | 'ħ' => 'h',
        'і' | 'ї' | 'ι' | 'ı' | 'ì'..='ï' | 'ī' | 'į' | '1' | 'l' | '|' | 'ӏ' | 'ł' => 'i',
        'ј' => 'j',
        'к' | 'κ' | 'ķ' => 'k',
        'м' => 'm',
        'п' | 'η' | 'ñ' | 'ń' | 'ň' | 'ņ' => 'n',
        'о' | 'ο' | 'σ' | 'ò'..='ö' | 'ø' | 'ō' | 'ő' | 'ọ' | '0' | 'օ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' | 'ŕ' | 'ř' => 'r',
        'ѕ' | 'ś' | 'š' | 'ş' | 'ș' | '5' => 's',
        'т' | 'τ' | 'ţ' | 'ț' | 'ť' => 't',
        'υ' | 'ù'..='ü' | 'ū' | 'ů' | 'ű' | 'ų' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' | 'ŵ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::{looks_like, of};
    use crate::domain::event::{Email, Mailbox, SenderFlag};

    fn mailbox(name: Option<&str>, address: &str) -> Mailbox {
        Mailbox { address: address.to_owned(), name: name.map(str::to_owned) }
    }

    #[test]
    fn tricks_with_names_and_reply_addresses_are_flagged() {
        let plain = Email { from: vec![mailbox(Some("Dana"), "dana@example.com")], ..Email::default() };
        assert_eq!(of(&plain), []);
        let with = |from: Vec<Mailbox>, reply: &[&str]| {
            let reply_to = reply.iter().map(|address| mailbox(None, address)).collect();
            of(&Email { from, reply_to, ..Email::default() })
        };
        let own = || vec![mailbox(Some("dana@example.com"), "dana@example.com")];
        assert_eq!(with(own(), &["team@mail.example.com"]), []);
        assert_eq!(with(own(), &["dana@evil.net"]), [SenderFlag::ReplyToElsewhere]);
        let ceo = mailbox(Some("The CEO <ceo@example.com>"), "x@evil.net");
        assert_eq!(with(vec![ceo], &[]), [SenderFlag::AddressInName]);
        let two = vec![mailbox(None, "a@example.com"), mailbox(None, "b@example.com")];
        assert_eq!(with(two, &[]), [SenderFlag::SeveralFrom]);
        assert_eq!(with(vec![mailbox(None, "a@exаmple.com")], &[]), [SenderFlag::MixedScripts]);
        assert_eq!(with(vec![mailbox(None, "a@пример.example")], &[]), []);
    }

    #[test]
    fn near_misses_of_allowed_domains_are_seen() {
        let allowed = ["*@example.com", "ceo@northwind.co.uk", "*", "*@mail.com"];
        for (address, expected) in [
            ("a@example.com", false),
            ("a@mail.example.com", false),
            ("a@examp1e.com", true),
            ("a@exarnple.com", true),
            ("a@exаmple.com", true),
            ("a@xn--exmple-4nf.com", true),
            ("a@exampel.com", true),
            ("a@exampIe.com", true),
            ("a@northwlnd.co.uk", true),
            ("a@gmail.com", false),
            ("a@unrelated.org", false),
            ("a@example.org", false),
        ] {
            assert_eq!(looks_like(address, allowed.into_iter()), expected, "{address}");
        }
    }
}
