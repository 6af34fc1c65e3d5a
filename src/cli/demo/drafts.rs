//! Who writes what in the demonstration.

use serde_json::json;

use crate::ingress::signing::{Draft, FileDraft, HookDraft, MailDraft, MailForm, SmsDraft};

/// One event of the demonstration.
pub(super) struct Scene {
    /// What it is, in a word.
    pub(super) kind: &'static str,
    /// From whom to whom.
    pub(super) route: &'static str,
    /// What it says, in a line.
    pub(super) about: &'static str,
    /// Who signs it.
    pub(super) signer: &'static str,
    /// The source that gets it.
    pub(super) source: &'static str,
    /// The variable with that source's secret.
    pub(super) secret: &'static str,
    /// What is sent.
    pub(super) draft: Draft,
}

const SALES: &str = "region,units,revenue\nNorth,120,2400.50\nSouth,80,1610\nWest,95,1899.90\n";

/// A mail with a table.
pub(super) fn mail() -> Scene {
    let file = FileDraft {
        filename: "sales.csv".to_owned(),
        content_type: "text/csv".to_owned(),
        bytes: SALES.as_bytes().to_vec(),
    };
    Scene {
        kind: "Mail",
        route: "ada@example.com → inbox@agents.example.com",
        about: "“Sales in October”, with sales.csv",
        signer: "Mailgun",
        source: "mail",
        secret: "DEMO_MAIL_KEY",
        draft: Draft::Mail(MailDraft {
            from: "Ada Lovelace <ada@example.com>".to_owned(),
            to: "inbox@agents.example.com".to_owned(),
            subject: "Sales in October".to_owned(),
            text: "Hello,\n\nhere are the numbers. What do they add up to?\n\nAda\n".to_owned(),
            in_reply_to: None,
            files: vec![file],
            form: MailForm::Parsed,
        }),
    }
}

/// A text message.
pub(super) fn sms() -> Scene {
    Scene {
        kind: "SMS",
        route: "+15550123 → +15550100",
        about: "“When are you open on Saturday?”",
        signer: "Twilio",
        source: "sms",
        secret: "DEMO_SMS_TOKEN",
        draft: Draft::Sms(SmsDraft {
            from: "+15550123".to_owned(),
            to: "+15550100".to_owned(),
            text: "When are you open on Saturday?".to_owned(),
        }),
    }
}

/// A new issue.
pub(super) fn issue() -> Scene {
    Scene {
        kind: "GitHub",
        route: "issues.opened in example/shop",
        about: "“The checkout page crashes”",
        signer: "GitHub",
        source: "github",
        secret: "DEMO_GITHUB_SECRET",
        draft: Draft::Hook(HookDraft {
            kind: Some("issues.opened".to_owned()),
            body: json!({
                "action": "opened",
                "issue": {
                    "number": 42, "title": "The checkout page crashes",
                    "body": "Since yesterday it crashes when the cart is empty.",
                    "html_url": "https://github.com/example/shop/issues/42",
                },
                "repository": {"full_name": "example/shop"},
                "sender": {"login": "ada"},
            }),
        }),
    }
}

/// A mail that a model answers.
pub(super) fn question() -> Scene {
    Scene {
        kind: "Mail",
        route: "ada@example.com → claude@agents.example.com",
        about: "“A question”, for a full Claude Code instance",
        signer: "Mailgun",
        source: "mail",
        secret: "DEMO_MAIL_KEY",
        draft: Draft::Mail(MailDraft {
            from: "Ada Lovelace <ada@example.com>".to_owned(),
            to: "claude@agents.example.com".to_owned(),
            subject: "A question".to_owned(),
            text: "Hello,\n\nin two sentences: what is a postern, and why would a castle have one?\n\nAda\n".to_owned(),
            ..MailDraft::default()
        }),
    }
}
