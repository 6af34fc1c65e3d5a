//! Answers by mail.

pub mod compose;
pub mod mailgun;
pub mod media_type;
pub mod smtp;

use crate::{
    domain::delivery::{Message, Outgoing},
    outbound::email::compose::{Composed, compose},
};

/// The message of `outgoing` as bytes; `own` is the channel's address for those that name none.
fn written(outgoing: &Outgoing, own: Option<&str>) -> Result<Composed, String> {
    let Message::Email(email) = &outgoing.message else {
        return Err("this is no email".to_owned());
    };
    let mut email = email.clone();
    if email.from.is_empty() {
        email.from = own.ok_or("the answer names no address of ours to come from")?.to_owned();
    }
    if email.files.len() != outgoing.files.len() {
        return Err("files that belong to it were removed; it cannot be sent any more".to_owned());
    }
    compose(&email, &outgoing.files, &outgoing.id, outgoing.created_at).map_err(|error| error.to_string())
}
