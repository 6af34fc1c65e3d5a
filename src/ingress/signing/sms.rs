//! Twilio's incoming message (twilio.com/docs/messaging/guides/webhook-request).

use crate::{
    domain::source::SourceSpec,
    ingress::{
        signature::scheme::{Encoding, Hash, KeyForm},
        signing::{SignedRequest, SmsDraft, Stamp, form, mac::Recipe},
    },
};

pub(super) fn twilio(spec: &SourceSpec, draft: &SmsDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let digits: String = stamp.unique.chars().take(32).collect();
    let account = spec.options.get("account_sid").cloned().unwrap_or_else(|| format!("AC{:0<32}", ""));
    let mut fields: Vec<(String, String)> = [
        ("AccountSid", account),
        ("ApiVersion", "2010-04-01".to_owned()),
        ("Body", draft.text.clone()),
        ("From", draft.from.clone()),
        ("MessageSid", format!("SM{digits}")),
        ("NumMedia", "0".to_owned()),
        ("NumSegments", "1".to_owned()),
        ("SmsMessageSid", format!("SM{digits}")),
        ("SmsSid", format!("SM{digits}")),
        ("SmsStatus", "received".to_owned()),
        ("To", draft.to.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    fields.sort();
    // The URL, then every field's name and value in the order of the names, nothing between them.
    let mut signed = stamp.url.to_owned();
    for (name, value) in &fields {
        signed.push_str(name);
        signed.push_str(value);
    }
    let recipe = Recipe { hash: Hash::Sha1, key: KeyForm::Utf8, encoding: Encoding::Base64 };
    let signature = recipe.sign(stamp.secret, signed.as_bytes())?;
    let (content_type, body) = form::urlencoded(&fields);
    let headers = vec![
        ("content-type".to_owned(), content_type.into_bytes()),
        ("x-twilio-signature".to_owned(), signature.into_bytes()),
    ];
    Ok(SignedRequest { headers, body })
}
