//! Who sent a mail, in which conversation, and what the message answers: what has to be asked of the DNS and of the
//! records, between parsing and the commit, since triggers depend on it.

use std::sync::Arc;

use crate::{
    crypto::{self, Secret},
    domain::{
        event::{Content, Email, SenderAuth},
        id::{AgentId, SessionId, TenantId},
        source::{SenderCheck, Source},
        thread::{self, Threads},
    },
    egress::dns::Dns,
    ingress::{
        Parsed,
        mail::identity::{
            self,
            check::{Suspect, check},
        },
    },
    pipeline::{answers, hops::LoopGuard, routes::Routes, thread as mail_thread},
    store::{Store, StoreError},
};

/// Looks up what is to be known of a message before triggers are asked. Cheap to clone.
#[derive(Clone)]
pub struct Senders {
    store: Store,
    dns: Option<Arc<Dns>>,
    loops: LoopGuard,
}

impl Senders {
    /// Without a resolver senders stay what the provider says of them.
    #[must_use]
    pub const fn new(store: Store, dns: Option<Arc<Dns>>, loops: LoopGuard) -> Self {
        Self { store, dns, loops }
    }

    /// Notes in `parsed` all that triggers depend on, in the one order in which it holds: who sent a raw mail that is not
    /// verified already, which conversation a mail goes on with, which of its text is new, whether a machine sent it, which
    /// question a message answers, and whether there was too much mail for it to start anything.
    ///
    /// The check of the sender takes at most [`identity::check::PATIENCE`]; without an answer by then it stays unknown.
    ///
    /// # Errors
    /// When the database fails: a mail in the wrong conversation is worse than one that comes again.
    pub async fn settle(&self, source: &Source, routes: &Routes, parsed: &mut Parsed) -> Result<(), StoreError> {
        let (store, tenant) = (&self.store, &source.tenant);
        self.check(source, parsed).await;
        if let Content::Email(email) = &parsed.content {
            parsed.threads = self.threads(tenant, email).await?;
        }
        mail_thread::recall(store, tenant, &self.loops, routes, parsed).await;
        answers::look(store, tenant, parsed).await?;
        mail_thread::limit(store, tenant, &self.loops.limits, parsed).await;
        Ok(())
    }

    async fn check(&self, source: &Source, parsed: &mut Parsed) {
        let (Some(dns), Content::Email(email), Some(sender)) = (&self.dns, &parsed.content, &mut parsed.sender) else {
            return;
        };
        let Some(signed) = parsed.evidence.signed.take() else { return };
        if source.spec.sender_check == SenderCheck::Off || sender.auth == SenderAuth::Verified {
            return;
        }
        let client = parsed.evidence.client.as_ref();
        let suspect = Suspect { email, signed: &signed, client, sealers: &source.spec.trusted_sealers };
        let (auth, reason) = identity::judge(email, &check(dns, &suspect).await);
        // Who checked the mail as it came goes before us, unless a signature holds for us too: mail is changed on the way.
        let first = parsed.evidence.trusted.is_empty();
        let counts = match auth {
            SenderAuth::Verified => true,
            SenderAuth::Failed => first,
            SenderAuth::Unknown => first && sender.auth == SenderAuth::Unknown,
        };
        if counts {
            (sender.auth, sender.auth_reason) = (auth, reason);
        }
    }

    /// The conversations that a mail goes on with: by the token in an address of ours, by that in an id that it answers,
    /// by the ids themselves. Of several of one agent the first so found counts. The subject never does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn threads(&self, tenant: &TenantId, email: &Email) -> Result<Threads, StoreError> {
        let in_addresses: Vec<String> =
            email.own_addresses().iter().filter_map(|address| thread::token_in_address(address)).collect();
        let ids = thread::answered(&email.in_reply_to, &email.references);
        let in_ids = ids.iter().filter_map(|id| thread::token_in_id(id));
        let tokens: Vec<String> = in_addresses.into_iter().chain(in_ids).take(MOST_TOKENS).collect();
        let mut threads = Threads::default();
        if !tokens.is_empty() {
            let key = self.store.signing_key(tenant).await?;
            for found in self.store.threads_of_tokens(tenant, &tokens).await? {
                let own = reply_token(&key, tenant, &found.agent, &found.session);
                if tokens.iter().any(|token| crypto::equal(token.as_bytes(), own.as_bytes())) {
                    threads.add(found);
                }
            }
        }
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        for found in self.store.threads_of_messages(tenant, &ids).await? {
            threads.add(found);
        }
        Ok(threads)
    }
}

/// Tokens of one mail that are looked up.
const MOST_TOKENS: usize = 60;

/// What stands behind the `+` of a session's reply address. It finds the session and admits nobody.
#[must_use]
pub fn reply_token(key: &Secret, tenant: &TenantId, agent: &AgentId, session: &SessionId) -> String {
    crypto::short_mac(key, &["reply", tenant.as_str(), agent.as_str(), session.as_str()])
}
