//! Raw mail that our worker at Cloudflare hands on (deploy/cloudflare-email-worker.js).

use crate::{
    domain::time::Timestamp,
    ingress::{ParseFault, Parsed, gate::Verified, providers::mail},
};

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    mail::raw(verified, at)
}
