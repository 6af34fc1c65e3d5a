//! Amazon SNS, which carries SES mail and events (docs.aws.amazon.com/sns, verifying messages).
//!
//! Anybody can have a topic whose messages Amazon signs: only those of the source's own topics are taken.

mod parse;

use crate::ingress::{
    answer::Replies,
    providers::Provider,
    signature::{
        handshake::{Confirm, Handshake},
        scheme::{Absent, Auth, Certificate, Condition, Encoding, Hash, HashFrom, KeyForm, Scheme, TimeRule, TimeUnit},
    },
};

/// See the module.
pub static AWS_SNS: Provider = Provider {
    name: "aws_sns",
    secret: "none; `options.topic_arn` names the topics",
    names_option: Some("topic_arn"),
    schemes: &[
        Scheme {
            id: "notification",
            when: &[Condition::Equals("json:/Type", "Notification")],
            signed: "{json_lines:Message,MessageId,Subject,Timestamp,TopicArn,Type}",
            ..MESSAGE
        },
        Scheme {
            id: "confirmation",
            when: &[Condition::OneOf("json:/Type", &["SubscriptionConfirmation", "UnsubscribeConfirmation"])],
            signed: "{json_lines:Message,MessageId,SubscribeURL,Timestamp,Token,TopicArn,Type}",
            ..MESSAGE
        },
    ],
    handshakes: &[
        Handshake {
            when: &[Condition::Equals("json:/Type", "SubscriptionConfirmation")],
            confirm: Some(Confirm {
                source: "json:/SubscribeURL",
                allows: is_confirmation_url,
                option: "confirm_subscriptions",
            }),
            ..Handshake::PING
        },
        Handshake { when: &[Condition::Equals("json:/Type", "UnsubscribeConfirmation")], ..Handshake::PING },
    ],
    // A 4xx is final.
    replies: Replies { busy: 503, ..Replies::accepting(200).refusing(403) },
    parse: parse::parse,
    ..Provider::WEBHOOK
};

const MESSAGE: Scheme<'static> = Scheme {
    auth: Auth::Rsa,
    hash_from: Some(HashFrom {
        source: "json:/SignatureVersion",
        setting: None,
        names: &[("1", Hash::Sha1), ("2", Hash::Sha256)],
        absent: Absent::Refused,
    }),
    key: KeyForm::Fetched(Certificate { source: "json:/SigningCertURL", allows: is_certificate_url }),
    signature: &["json:/Signature"],
    encoding: Encoding::Base64,
    // Retries end after an hour.
    time: Some(TimeRule { source: "json:/Timestamp", unit: TimeUnit::Rfc3339, past_s: 3900, future_s: 300 }),
    bound: Some("json:/TopicArn"),
    ids: &["{json:/MessageId}"],
    events: &["json:/Type"],
    ..Scheme::HMAC
};

/// `https://sns.<region>.amazonaws.com/<name>.pem`, also under `.cn`.
fn is_certificate_url(url: &str) -> bool {
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    path_at_sns(url).and_then(|path| path.strip_suffix(".pem")).is_some_and(|name| !name.is_empty() && is_name(name))
}

/// `https://sns.<region>.amazonaws.com/?Action=ConfirmSubscription&…`, also under `.cn`.
fn is_confirmation_url(url: &str) -> bool {
    path_at_sns(url).is_some_and(|path| path.starts_with("?Action=ConfirmSubscription&"))
        && url.bytes().all(|b| b.is_ascii_graphic())
}

/// What follows the first slash of a URL of SNS itself.
fn path_at_sns(url: &str) -> Option<&str> {
    let (host, path) = url.strip_prefix("https://sns.")?.split_once('/')?;
    let region = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let is_region =
        region.len() >= 3 && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_region.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::{is_certificate_url, is_confirmation_url};

    #[test]
    fn only_urls_of_sns_itself_are_fetched() {
        for (url, expected) in [
            ("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem", true),
            ("https://sns.cn-north-1.amazonaws.com.cn/a.pem", true),
            ("http://sns.us-east-1.amazonaws.com/a.pem", false),
            ("https://sns.us-east-1.amazonaws.com.evil.example/a.pem", false),
            ("https://sns.us-east-1.amazonaws.com:8443/a.pem", false),
            ("https://evil.example@sns.us-east-1.amazonaws.com/a.pem", false),
            ("https://sns.x@evil.example/.amazonaws.com/a.pem", false),
            ("https://sns.us-east-1.amazonaws.com/x/../a.pem", false),
            ("https://sns.us-east-1.amazonaws.com/a.pem?x=.pem", false),
            ("https://sns.us-east-1.amazonaws.com/.pem", false),
            ("https://sns.evil.example#.amazonaws.com/a.pem", false),
            ("https://s3.us-east-1.amazonaws.com/a.pem", false),
        ] {
            assert_eq!(is_certificate_url(url), expected, "{url}");
        }
        let confirm = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:a&Token=1";
        assert!(is_confirmation_url(confirm));
        assert!(!is_confirmation_url(&confirm.replace("Confirm", "Delete")));
        assert!(!is_confirmation_url(&confirm.replace("amazonaws.com", "amazonaws.com.evil.example")));
        assert!(!is_confirmation_url(&format!("{confirm}\r\nHost: x")));
    }
}
