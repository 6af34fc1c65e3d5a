//! Conversations by mail: what an address or a Message-ID of ours says about the one it belongs to.

use crate::domain::id::{AgentId, DeliveryId, SessionId};

/// Characters of a token: 100 bits in base32.
pub const TOKEN_CHARACTERS: usize = 20;
/// The longest local part (RFC 5321 section 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;
/// Ids of one mail by which its conversation is looked for.
const MOST_IDS: usize = 50;

/// The conversations that a mail goes on with, one an agent at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads(Vec<Thread>);

/// A conversation that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Which.
    pub session: SessionId,
    /// Whose.
    pub agent: AgentId,
    /// See `Session::key`.
    pub key: String,
    /// Addresses, in lower case, that may go on in it though the trigger's `from` does not name them.
    pub guests: Vec<String>,
}

impl Threads {
    /// Takes a conversation, unless one of its agent is known already.
    pub fn add(&mut self, thread: Thread) {
        if self.of(&thread.agent).is_none() {
            self.0.push(thread);
        }
    }

    /// The conversation of that agent.
    #[must_use]
    pub fn of(&self, agent: &AgentId) -> Option<&Thread> {
        self.0.iter().find(|thread| thread.agent == *agent)
    }
}

/// Whether it has a token's form.
fn is_token(text: &str) -> bool {
    text.len() == TOKEN_CHARACTERS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v'))
}

/// The token in an address of ours, in lower case, as mail programs and servers may have changed that.
#[must_use]
pub fn token_in_address(address: &str) -> Option<String> {
    let (local, _) = address.rsplit_once('@')?;
    let (_, token) = local.rsplit_once('+')?;
    Some(token.to_ascii_lowercase()).filter(|token| is_token(token))
}

/// The address without the token in it.
#[must_use]
pub fn base_address(address: &str) -> String {
    match (token_in_address(address), address.rsplit_once('@')) {
        (Some(_), Some((local, domain))) => {
            format!("{}@{domain}", local.rsplit_once('+').map_or(local, |(base, _)| base))
        }
        _ => address.to_owned(),
    }
}

/// The address with a token; `None` where that would be too long.
#[must_use]
pub fn with_token(address: &str, token: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    (local.len() + 1 + token.len() <= LONGEST_LOCAL).then(|| format!("{local}+{token}@{domain}"))
}

/// A Message-ID that carries a token, without brackets. `unique` is a delivery's id.
#[must_use]
pub fn message_id(token: &str, unique: &str, domain: &str) -> String {
    format!("t.{token}.{unique}@{domain}")
}

/// The delivery that a Message-ID of ours names, with a token or without one.
#[must_use]
pub fn delivery_in_id(id: &str) -> Option<DeliveryId> {
    let (local, _) = id.split_once('@')?;
    local.rsplit('.').next()?.parse().ok()
}

/// The token in a Message-ID of ours.
#[must_use]
pub fn token_in_id(id: &str) -> Option<String> {
    let token = id.strip_prefix("t.")?.split('.').next()?.to_ascii_lowercase();
    Some(token).filter(|token| is_token(token))
}

/// The ids that a mail answers, the nearest first: In-Reply-To, then References from its end.
#[must_use]
pub fn answered<'a>(in_reply_to: &'a [String], references: &'a [String]) -> Vec<&'a str> {
    let mut ids: Vec<&str> = Vec::new();
    for id in in_reply_to.iter().chain(references.iter().rev()) {
        if ids.len() < MOST_IDS && !ids.contains(&id.as_str()) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{answered, base_address, message_id, token_in_address, token_in_id, with_token};

    const TOKEN: &str = "0123456789abcdefghij";

    #[test]
    fn a_token_goes_into_an_address_and_comes_out_of_it() {
        let address = with_token("support@agents.example.com", TOKEN).unwrap();
        assert_eq!(address, "support+0123456789abcdefghij@agents.example.com");
        assert_eq!(token_in_address(&address.to_uppercase()).as_deref(), Some(TOKEN));
        assert_eq!(base_address(&address), "support@agents.example.com");
        let tagged = with_token("support+eu@agents.example.com", TOKEN).unwrap();
        assert_eq!(base_address(&tagged), "support+eu@agents.example.com");
        for other in ["support+orders@x.example", "support@x.example", "support", "+@x", "a+0123456789abcdefghi@x"] {
            assert_eq!((token_in_address(other), base_address(other)), (None, other.to_owned()));
        }
        assert!(with_token(&format!("{}@x.example", "a".repeat(43)), TOKEN).is_some());
        assert!(with_token(&format!("{}@x.example", "a".repeat(44)), TOKEN).is_none());
    }

    #[test]
    fn a_token_goes_into_a_message_id_and_comes_out_of_it() {
        let id = message_id(TOKEN, "dlv_1", "agents.example.com");
        assert_eq!(token_in_id(&id).as_deref(), Some(TOKEN));
        for other in ["dlv_1@agents.example.com", "t.short.x@y", "t.", ""] {
            assert_eq!(token_in_id(other), None, "{other}");
        }
    }

    #[test]
    fn the_nearest_ids_come_first_and_each_once() {
        let ids = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(answered(&ids(&["c"]), &ids(&["a", "b", "c"])), ["c", "b", "a"]);
        let many: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(answered(&[], &many).len(), 50);
    }
}
