//! Amazon SNS, which carries SES mail and events (docs.aws.amazon.com/sns, verifying messages).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static AWS_SNS: Provider = Provider { name: "aws_sns", parse: parse::parse, ..Provider::WEBHOOK };
