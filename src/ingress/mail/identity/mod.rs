//! Who really sent a mail: what others or we ourselves found out, and what follows from it. Pure.
//!
//! `From` alone is never identity. It counts when a DKIM signature or an SPF pass speaks for its domain (aligned, RFC
//! 7489 section 3.1), or when somebody whom we trust says that DMARC passes.

pub mod check;
pub mod flags;
pub mod results;
mod signed;

pub use signed::{Client, SignedHead};

use crate::domain::{
    event::{Email, Mailbox, Sender, SenderAuth},
    organisation::{Alignment, a_labels, is_aligned},
    source::{SenderCheck, SourceSpec},
};

/// What one check ended in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be made now: DNS gave no answer.
    Unsure,
    /// There was nothing to check, or the domain's owner says nothing either way.
    Nothing,
}

impl Verdict {
    /// Reads a result's word (RFC 8601 section 2.7), of any provider's spelling.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let word: String = word.chars().filter(char::is_ascii_alphabetic).collect();
        match word.to_ascii_lowercase().as_str() {
            "pass" => Self::Pass,
            "fail" | "hardfail" => Self::Fail,
            "temperror" | "processingfailed" => Self::Unsure,
            _ => Self::Nothing,
        }
    }
}

/// One check's end, and the domain that it is about, in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its end.
    pub verdict: Verdict,
    /// SPF: of the envelope sender. DKIM: the signing domain (`d=`).
    pub domain: String,
}

/// What one checker found out about a mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Who checked, for the reason that is shown: `Amazon SES`, `our own check`, …
    pub by: String,
    /// SPF, when it was looked at.
    pub spf: Option<Claim>,
    /// The DKIM signatures that were looked at.
    pub dkim: Vec<Claim>,
    /// DMARC, when the checker knows the rule of the `From` domain.
    pub dmarc: Option<Verdict>,
    /// How alike domains must be; the owner of the `From` domain says so in its DMARC record.
    pub alignment: Alignment,
}

/// What is known of a mail's origin besides the mail itself.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What the provider found out and says in fields that no sender can write.
    pub trusted: Vec<Claims>,
    /// What stands where a sender could have written it too, unless the operator knows better.
    pub untrusted: Vec<Claims>,
    /// What a check of our own needs; `None` when the raw mail is not there or carries no signature.
    pub signed: Option<SignedHead>,
    /// Who handed the mail to the provider, when it says so.
    pub client: Option<Client>,
}

/// Who sent the mail, judged by what is known without asking anybody. `None` when it names no address at all.
#[must_use]
pub fn sender(email: &Email, evidence: &Evidence, spec: &SourceSpec) -> Option<Sender> {
    let first = email.from.first()?;
    let mut claims: Vec<Claims> = Vec::new();
    if spec.sender_check != SenderCheck::Off {
        claims.extend(evidence.trusted.iter().cloned());
        claims.extend(spec.authserv_id.as_deref().and_then(|id| results::authentication_results(email, id)));
    }
    if spec.sender_check == SenderCheck::Provider {
        claims.extend(evidence.untrusted.iter().cloned());
    }
    let (auth, auth_reason) = judge(email, &claims);
    let address = normal(&first.address);
    Some(Sender { address, name: first.name.clone(), auth, auth_reason, flags: flags::of(email) })
}

/// The judgement over all that was found out, and why. The best finding counts: a signature that one checker could not
/// verify may have been verified by another, before somebody changed the mail.
#[must_use]
pub fn judge(email: &Email, claims: &[Claims]) -> (SenderAuth, String) {
    let author = match author(email) {
        Ok(domain) => domain,
        Err(reason) => return (SenderAuth::Failed, reason.to_owned()),
    };
    let mut found = claims.iter().map(|claims| judge_one(&author, claims));
    let Some(mut best) = found.next() else {
        return (SenderAuth::Unknown, "nobody has checked whether the sender owns the address".to_owned());
    };
    for next in found {
        if rank(next.0) > rank(best.0) {
            best = next;
        }
    }
    best
}

const fn rank(auth: SenderAuth) -> u8 {
    match auth {
        SenderAuth::Unknown => 0,
        SenderAuth::Failed => 1,
        SenderAuth::Verified => 2,
    }
}

/// The domain of the one address in the one `From`; several are how a signature over one covers for another.
fn author(email: &Email) -> Result<String, &'static str> {
    let fields = |wanted: &str| email.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count();
    let [from] = email.from.as_slice() else {
        return Err("the mail names no sender or several");
    };
    if fields("from") > 1 {
        return Err("the mail has several From fields");
    }
    // A signature covers the last one (RFC 6376 section 5.4.2); anybody can put another one in front of a signed mail.
    if fields("subject") > 1 || fields("content-type") > 1 {
        return Err("the mail has several Subject or Content-Type fields, of which a signature covers one");
    }
    domain_of(from).ok_or("the From address is none")
}

fn domain_of(mailbox: &Mailbox) -> Option<String> {
    let (local, domain) = mailbox.address.rsplit_once('@')?;
    let domain = a_labels(domain);
    (!local.is_empty() && domain.contains('.')).then_some(domain)
}

/// The address with its domain in A-labels, where that can be.
fn normal(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) if !domain.is_ascii() && !a_labels(domain).is_empty() => {
            format!("{local}@{}", a_labels(domain))
        }
        Some(_) | None => address.to_owned(),
    }
}

fn judge_one(author: &str, claims: &Claims) -> (SenderAuth, String) {
    let by = &claims.by;
    let aligned = |claim: &&Claim| is_aligned(&claim.domain, author, claims.alignment);
    let all = || claims.dkim.iter().chain(&claims.spf);
    if claims.dmarc == Some(Verdict::Pass) {
        return (SenderAuth::Verified, format!("DMARC passes for {author}, says {by}"));
    }
    if claims.dmarc == Some(Verdict::Fail) {
        return (SenderAuth::Failed, format!("DMARC fails for {author}, says {by}"));
    }
    let passes = |claim: &&Claim| claim.verdict == Verdict::Pass;
    if let Some(signed) = claims.dkim.iter().filter(aligned).find(passes) {
        return (SenderAuth::Verified, format!("a DKIM signature of {} holds, says {by}", a_labels(&signed.domain)));
    }
    if let Some(spf) = claims.spf.iter().filter(aligned).find(passes) {
        return (SenderAuth::Verified, format!("SPF passes for {}, says {by}", a_labels(&spf.domain)));
    }
    if let Some(failed) = all().filter(aligned).find(|claim| claim.verdict == Verdict::Fail) {
        let domain = a_labels(&failed.domain);
        return (SenderAuth::Failed, format!("neither DKIM nor SPF holds for {domain}, says {by}"));
    }
    let unsure = all().any(|claim| claim.verdict == Verdict::Unsure) || claims.dmarc == Some(Verdict::Unsure);
    let reason = if unsure {
        format!("{by} could not look up what {author} publishes")
    } else if let Some(other) = all().find(passes) {
        format!("{by} vouches for {}, which does not speak for {author}", a_labels(&other.domain))
    } else {
        format!("{by} found nothing that speaks for {author}")
    };
    (SenderAuth::Unknown, reason)
}

#[cfg(test)]
mod tests;
