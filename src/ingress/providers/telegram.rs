//! Telegram bots (core.telegram.org/bots/api#setwebhook): the `secret_token` comes back in a header.

use crate::ingress::{
    ParseFault, Parsed,
    answer::{Replies, ReplyForm},
    gate::Verified,
    providers::{Provider, about::About},
    signature::scheme::{Auth, Encoding, Scheme},
};

const ABOUT: About = About {
    threads: &[
        &["/message/chat/id", "/message/message_thread_id"],
        &["/message/chat/id"],
        &["/edited_message/chat/id", "/edited_message/message_thread_id"],
        &["/edited_message/chat/id"],
        &["/channel_post/chat/id"],
        &["/edited_channel_post/chat/id"],
        &["/callback_query/message/chat/id", "/callback_query/message/message_thread_id"],
        &["/callback_query/message/chat/id"],
        &["/business_message/chat/id"],
        &["/message_reaction/chat/id"],
        &["/my_chat_member/chat/id"],
        &["/chat_member/chat/id"],
        &["/chat_join_request/chat/id"],
    ],
    sender: &["/message/from/id", "/edited_message/from/id", "/callback_query/from/id"],
    sender_name: &["/message/from/username", "/message/from/first_name", "/callback_query/from/username"],
    reliance: "Telegram names the account that wrote, and proved itself",
    bots: &[("/message/from/is_bot", "true", "a bot")],
    ..About::NOTHING
};

/// See the module.
pub static TELEGRAM: Provider = Provider {
    name: "telegram",
    secret: "the `secret_token` of `setWebhook`",
    schemes: &[Scheme {
        auth: Auth::Token,
        signature: &["header:X-Telegram-Bot-Api-Secret-Token"],
        encoding: Encoding::Raw,
        signed: "",
        ids: &["{json:/update_id}"],
        ..Scheme::HMAC
    }],
    // A body would be read as a call of the Bot API.
    replies: Replies { form: ReplyForm::Empty, ..Replies::accepting(200) },
    parse: |verified, _| parse(verified),
    ..Provider::WEBHOOK
};

/// An update is named by the one field that it has besides its id.
fn parse(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let mut parsed = ABOUT.parse(verified)?;
    let fields = verified.reading().json().ok().and_then(serde_json::Value::as_object);
    if let Some(kind) = fields.into_iter().flatten().map(|(name, _)| name).find(|name| *name != "update_id") {
        parsed.kind.clone_from(kind);
    }
    Ok(parsed)
}
