//! What Postmark posts.

use crate::{
    domain::time::Timestamp,
    ingress::{ParseFault, Parsed, gate::Verified, providers::webhook},
};

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    webhook::parse(verified, at)
}
