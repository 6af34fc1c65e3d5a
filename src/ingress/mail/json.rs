//! A read mail as JSON: what `postern parse mail` prints and what fixtures are compared with.

use serde_json::{Value, json};

use crate::{
    crypto,
    domain::event::Mailbox,
    ingress::mail::{RawFile, ReadMail, identity, sniff},
};

/// The mail with its files' sizes and hashes in place of their bytes.
pub fn to_json(mail: &ReadMail) -> Value {
    let email = &mail.email;
    let addresses = |boxes: &[Mailbox]| boxes.iter().map(|mailbox| mailbox.address.clone()).collect::<Vec<_>>();
    let (own, unpacked): (Vec<&RawFile>, Vec<&RawFile>) =
        mail.attachments.iter().partition(|file| file.within.is_none());
    let (auth, reason) = identity::judge(email, &[]);
    json!({
        "from": addresses(&email.from),
        "to": addresses(&email.to),
        "cc": addresses(&email.cc),
        "reply_to": addresses(&email.reply_to),
        "subject": email.subject,
        "date": email.date,
        "text": email.text,
        "reply_text": email.new_text,
        "html": email.html,
        "attachments": own.into_iter().map(file).collect::<Vec<_>>(),
        "unpacked": unpacked.into_iter().map(file).collect::<Vec<_>>(),
        "forwarded": email.forwarded,
        "invites": email.invites,
        "report": email.report,
        "security": email.security,
        "message_id": email.message_id,
        "in_reply_to": email.in_reply_to,
        "references": email.references,
        "auto_submitted": mail.automatic.is_some(),
        "automatic": mail.automatic,
        "sender_auth": { "result": auth, "reason": reason, "flags": identity::flags::of(email) },
        "segments": email.segments_view(),
    })
}

fn file(file: &RawFile) -> Value {
    json!({
        "filename": file.filename,
        "content_type": file.content_type,
        "sniffed_type": sniff::media_type(&file.bytes),
        "size": file.bytes.len(),
        "sha256": crypto::sha256_hex(&file.bytes),
        "content_id": file.content_id,
        "within": file.within,
    })
}
