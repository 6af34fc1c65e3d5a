//! Our own check of a raw mail: SPF where the client is known, DKIM, DMARC, and ARC of sealers that the operator trusts.
//! It asks the DNS, so it is made after parsing and within a time.

use std::time::Duration;

use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, Parameters, SpfOutput, SpfResult,
    common::crypto::Algorithm, dmarc::verify::DmarcParameters, spf::verify::SpfParameters,
};

use crate::{
    domain::{
        event::Email,
        organisation::{Alignment, is_aligned},
    },
    egress::dns::Dns,
    ingress::mail::identity::{Claim, Claims, Client, SignedHead, Verdict, author, results},
};

/// The longest that the check of one mail may take; what is not known then stays unknown.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Signatures that are checked, those of the author's organisation first: each one is a question to somebody's server.
const MOST_SIGNATURES: usize = 6;
/// Who checked, in reasons.
const OURSELVES: &str = "our own check";

/// What is checked.
pub struct Suspect<'a> {
    /// The mail as read.
    pub email: &'a Email,
    /// Its head and hashes.
    pub signed: &'a SignedHead,
    /// Who handed it over, when the provider says so.
    pub client: Option<&'a Client>,
    /// Domains whose ARC seals are believed (RFC 8617).
    pub sealers: &'a [String],
}

/// What the check found out. Takes [`PATIENCE`] at most.
pub async fn check(dns: &Dns, suspect: &Suspect<'_>) -> Vec<Claims> {
    let unsure = || vec![Claims { by: OURSELVES.to_owned(), dmarc: Some(Verdict::Unsure), ..Claims::default() }];
    tokio::time::timeout(PATIENCE, check_all(dns, suspect)).await.unwrap_or_else(|_| unsure())
}

async fn check_all(dns: &Dns, suspect: &Suspect<'_>) -> Vec<Claims> {
    let mut claims = Claims { by: OURSELVES.to_owned(), ..Claims::default() };
    let (Ok(author), Some(mut message)) = (author(suspect.email), suspect.signed.message()) else {
        return vec![claims];
    };
    // Both readers must see the same author, or a mail could show one and be checked for the other.
    let seen: Vec<&str> = message.from.iter().filter_map(|from| Some(from.rsplit_once('@')?.1)).collect();
    if !matches!(seen.as_slice(), [domain] if is_aligned(domain, &author, Alignment::Strict)) {
        return vec![claims];
    }
    message.dkim_headers.sort_by_key(|header| !is_aligned(&header.header.d, &author, Alignment::Relaxed));
    message.dkim_headers.truncate(MOST_SIGNATURES);
    let spf = spf(dns, suspect).await;
    if message.dkim_headers.is_empty() && spf.is_none() {
        return vec![claims];
    }
    let outputs: Vec<DkimOutput<'_>> =
        dns.authenticator().verify_dkim(Parameters::new(&message).with_txt_cache(dns.known())).await;
    claims.dkim = outputs.iter().filter_map(dkim_claim).collect();
    claims.spf = spf.as_ref().and_then(|output| spf_claim(output, suspect));
    let believed: Vec<DkimOutput<'_>> = outputs.into_iter().filter(is_believable).collect();
    dmarc(dns, suspect, &message, (&believed, spf.as_ref()), &mut claims).await;
    let mut all = vec![claims];
    all.extend(sealed(dns, suspect, &message).await);
    all
}

async fn spf(dns: &Dns, suspect: &Suspect<'_>) -> Option<SpfOutput> {
    let client = suspect.client?;
    let sender = suspect.email.envelope_from.as_deref()?;
    let parameters = SpfParameters::verify_mail_from(client.ip, &client.helo, "postern", sender);
    let parameters = Parameters::new(parameters).with_txt_cache(dns.known());
    Some(dns.authenticator().verify_spf(parameters).await)
}

fn spf_claim(output: &SpfOutput, suspect: &Suspect<'_>) -> Option<Claim> {
    let domain = suspect.email.envelope_from.as_deref()?.rsplit_once('@')?.1.to_owned();
    let verdict = match output.result() {
        SpfResult::Pass => Verdict::Pass,
        SpfResult::Fail => Verdict::Fail,
        SpfResult::TempError => Verdict::Unsure,
        SpfResult::SoftFail | SpfResult::Neutral | SpfResult::PermError | SpfResult::None => Verdict::Nothing,
    };
    Some(Claim { verdict, domain })
}

fn dkim_claim(output: &DkimOutput<'_>) -> Option<Claim> {
    let domain = output.signature()?.d.clone();
    let verdict = match output.result() {
        DkimResult::Pass if is_believable(output) => Verdict::Pass,
        DkimResult::Neutral(_) | DkimResult::Fail(_) | DkimResult::PermError(_) => Verdict::Fail,
        DkimResult::TempError(_) => Verdict::Unsure,
        DkimResult::Pass | DkimResult::None => Verdict::Nothing,
    };
    Some(Claim { verdict, domain })
}

/// Whether the signature may count: not by SHA-1 (RFC 8301), and over `From` (RFC 6376 section 5.4).
fn is_believable(output: &DkimOutput<'_>) -> bool {
    output.signature().is_some_and(|signature| {
        signature.a != Algorithm::RsaSha1 && signature.h.iter().any(|name| name.trim().eq_ignore_ascii_case("from"))
    })
}

/// What the author's domain asks for. Without the client's address a mail that is only vouched for by SPF looks like a
/// forged one, so that a failure counts only where SPF was looked at.
async fn dmarc(
    dns: &Dns,
    suspect: &Suspect<'_>,
    message: &AuthenticatedMessage<'_>,
    (dkim, spf): (&[DkimOutput<'_>], Option<&SpfOutput>),
    claims: &mut Claims,
) {
    let nothing = SpfOutput::default();
    let envelope = suspect.email.envelope_from.as_deref().and_then(|sender| sender.rsplit_once('@'));
    let parameters = DmarcParameters {
        message,
        dkim_output: dkim,
        dkim2_output: None,
        rfc5321_mail_from_domain: envelope.map_or("", |(_, domain)| domain),
        spf_output: spf.unwrap_or(&nothing),
    };
    let output = dns.authenticator().verify_dmarc(Parameters::new(parameters).with_txt_cache(dns.known())).await;
    claims.dmarc = match output.result() {
        DmarcResult::Pass => Some(Verdict::Pass),
        DmarcResult::TempError(_) => Some(Verdict::Unsure),
        DmarcResult::Fail(_) | DmarcResult::PermError(_) if spf.is_some() => Some(Verdict::Fail),
        DmarcResult::Fail(_) | DmarcResult::PermError(_) | DmarcResult::None => None,
    };
    // The owner has said how alike names must be, and these were not.
    if output.dmarc_record().is_some() && claims.dmarc != Some(Verdict::Pass) {
        claims.alignment = Alignment::Strict;
    }
}

/// What the last sealer found out, when its seal holds and the operator trusts it: a mailing list or forwarder breaks the
/// signatures that it has checked.
async fn sealed(dns: &Dns, suspect: &Suspect<'_>, message: &AuthenticatedMessage<'_>) -> Option<Claims> {
    let last = message.as_headers.last().filter(|_| !message.has_arc_errors)?;
    let trusted = suspect.sealers.iter().any(|sealer| is_aligned(sealer, &last.header.d, Alignment::Strict));
    if !trusted {
        return None;
    }
    let output = dns.authenticator().verify_arc(Parameters::new(message).with_txt_cache(dns.known())).await;
    if *output.result() != DkimResult::Pass {
        return None;
    }
    let found = message.aar_headers.last()?;
    let text = String::from_utf8_lossy(found.value);
    let (_, written) = text.split_once(';')?;
    let by = format!("the ARC seal of {}", last.header.d);
    Some(Claims { by, ..results::read(suspect.email, written)? })
}

#[cfg(test)]
mod tests;
