//! The check of a mail's sender that asks the DNS: between parsing and the commit, since triggers depend on it.

use std::sync::Arc;

use crate::{
    domain::{
        event::{Content, SenderAuth},
        source::{SenderCheck, SourceSpec},
    },
    egress::dns::Dns,
    ingress::{
        Parsed,
        mail::identity::{
            self,
            check::{Suspect, check},
        },
    },
};

/// Checks senders by our own means. Cheap to clone.
#[derive(Clone)]
pub struct Senders {
    dns: Option<Arc<Dns>>,
}

impl Senders {
    /// Without a resolver nothing is checked, and senders stay what the provider says of them.
    #[must_use]
    pub const fn new(dns: Option<Arc<Dns>>) -> Self {
        Self { dns }
    }

    /// Checks the raw mail, where it is there and its sender is not verified already. Takes at most
    /// [`identity::check::PATIENCE`]; without an answer by then the sender stays unknown.
    pub async fn settle(&self, source: &SourceSpec, parsed: &mut Parsed) {
        let (Some(dns), Content::Email(email), Some(sender)) = (&self.dns, &parsed.content, &mut parsed.sender) else {
            return;
        };
        let Some(signed) = parsed.evidence.signed.take() else { return };
        if source.sender_check == SenderCheck::Off || sender.auth == SenderAuth::Verified {
            return;
        }
        let suspect = Suspect {
            email,
            signed: &signed,
            client: parsed.evidence.client.as_ref(),
            sealers: &source.trusted_sealers,
        };
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
}
