//! The hop counter of mail between agents: `X-Postern-Hops: N; PROOF`.
//!
//! The number says how many agents a conversation has gone through. The proof is an HMAC-SHA256 with
//! the tenant's own key over the number, the delivery and both addresses: by it a gateway knows the mail of its own
//! agents again, whoever carried it.

use crate::{
    config::settings::LoopSettings,
    crypto::{self, Secret},
    domain::{
        delivery::EmailMessage,
        event::{Email, HOPS_HEADER},
        id::DeliveryId,
        thread,
    },
};

/// What ends a conversation of machines, with the key of the hop counter.
#[derive(Clone, Debug)]
pub struct LoopGuard {
    /// The caps.
    pub limits: LoopSettings,
    /// The tenant's own key, made once and kept in the database.
    pub key: Secret,
}

/// What a mail says of the agents that it went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hops {
    /// Nothing: a person wrote it, or a machine of another kind.
    None,
    /// So many; anybody can write that.
    Said(u32),
    /// So many, by the word of this very gateway: one of its agents wrote the mail, to the address that it came to.
    Proved(u32),
}

impl LoopGuard {
    /// Puts the proof into an answer that is about to become the delivery `id`.
    pub(super) fn prove(&self, email: &mut EmailMessage, id: &DeliveryId) {
        email.hops_proof = self.proof(email.hops, id, &email.from, &thread::base_address(&email.to));
    }

    /// Reads the counter of a mail that came in.
    pub(super) fn read(&self, email: &Email) -> Hops {
        let found = email.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HOPS_HEADER));
        let Some((_, value)) = found else { return Hops::None };
        let hops = email.hops();
        let (Some((_, proof)), [from], Some(id)) = (
            value.split_once(';'),
            email.from.as_slice(),
            email.message_id.as_deref().and_then(thread::delivery_in_id),
        ) else {
            return Hops::Said(hops);
        };
        let proves = |to: &String| {
            let expected = self.proof(hops, &id, &from.address, &thread::base_address(to));
            expected.is_some_and(|expected| crypto::equal(expected.as_bytes(), proof.trim().as_bytes()))
        };
        if email.own_addresses().iter().any(proves) { Hops::Proved(hops) } else { Hops::Said(hops) }
    }

    fn proof(&self, hops: u32, id: &DeliveryId, from: &str, to: &str) -> Option<String> {
        if self.key.is_empty() {
            return None;
        }
        let text = format!("postern hops\n{hops}\n{id}\n{from}\n{to}").to_lowercase();
        Some(crypto::hmac_sha256_hex(&self.key, text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Hops, LoopGuard};
    use crate::{
        config::settings::LoopSettings,
        crypto::Secret,
        domain::{
            delivery::EmailMessage,
            event::{Email, Mailbox},
            id::DeliveryId,
        },
    };

    fn guard(key: Option<&str>) -> LoopGuard {
        let limits = LoopSettings { thread_hour: 0, thread_day: 0, sender_hour: 0, hops: 3 };
        LoopGuard { limits, key: Secret::new(key.unwrap_or_default()) }
    }

    /// Our answer as it comes in elsewhere.
    fn arrived(answer: &EmailMessage, id: &DeliveryId) -> Email {
        let value = [Some(answer.hops.to_string()), answer.hops_proof.clone()].into_iter().flatten();
        Email {
            from: vec![Mailbox { address: answer.from.clone(), name: None }],
            envelope_to: vec![answer.to.clone()],
            message_id: Some(format!("{id}@us.example")),
            headers: vec![("X-Postern-Hops".to_owned(), value.collect::<Vec<_>>().join("; "))],
            ..Email::default()
        }
    }

    #[test]
    fn only_the_gateways_own_mail_proves_its_hops() {
        let id: DeliveryId = "dlv_00000000000000000000000001".parse().unwrap();
        let mut answer = EmailMessage {
            from: "One@us.example".to_owned(),
            to: "two@us.example".to_owned(),
            subject: String::new(),
            text: String::new(),
            in_reply_to: None,
            references: Vec::new(),
            quote: None,
            hops: 2,
            hops_proof: None,
            reply_token: None,
            files: Vec::new(),
        };
        assert_eq!(guard(Some("key")).read(&arrived(&answer, &id)), Hops::Said(2));
        guard(Some("key")).prove(&mut answer, &id);
        let good = arrived(&answer, &id);
        assert_eq!(guard(Some("key")).read(&good), Hops::Proved(2));
        assert_eq!(guard(Some("other")).read(&good), Hops::Said(2));
        assert_eq!(guard(None).read(&good), Hops::Said(2));
        assert_eq!(guard(Some("key")).read(&Email::default()), Hops::None);
        let changes: [fn(&mut Email); 4] = [
            |email| email.envelope_to = vec!["three@us.example".to_owned()],
            |email| email.from[0].address = "eve@us.example".to_owned(),
            |email| email.message_id = Some("dlv_00000000000000000000000002@us.example".to_owned()),
            |email| email.headers[0].1 = email.headers[0].1.replacen('2', "1", 1),
        ];
        for change in changes {
            let mut forged = good.clone();
            change(&mut forged);
            assert!(matches!(guard(Some("key")).read(&forged), Hops::Said(_)));
        }
    }
}
