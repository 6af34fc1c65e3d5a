//! Ways out: email, SMS, webhook. One attempt each; retrying is the pipeline's business.

pub mod answer;
pub mod capture;
pub mod email;
pub mod markdown;
mod outcome;
pub mod segments;
pub mod sms;
pub mod webhook;

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    clock::Clock,
    config::settings::{ChannelSettings, EgressSettings, EmailChannel, SmsChannel},
    crypto::SecretSource,
    domain::delivery::{Attempt, Message, Outgoing},
    egress::{Egress, EgressLimits},
    outbound::{
        capture::Capture,
        email::{
            mailgun::Mailgun,
            smtp::{Smtp, SmtpServer},
        },
        sms::{
            plivo::{Plivo, PlivoAccount},
            telnyx::{Telnyx, TelnyxAccount},
            twilio::{Twilio, TwilioAccount},
            vonage::{Vonage, VonageAccount},
        },
        webhook::WebhookChannel,
    },
};

/// A boxed future, for traits used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way out.
pub trait Channel: Send + Sync {
    /// Makes one attempt, bounded in time. Never panics, never logs secrets.
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt>;

    /// Whether it keeps messages instead of sending them.
    fn captures(&self) -> bool {
        false
    }
}

impl From<&EgressSettings> for EgressLimits {
    fn from(settings: &EgressSettings) -> Self {
        Self {
            allow_networks: settings.allow_networks.clone(),
            timeout: settings.timeout,
            max_answer_bytes: settings.max_answer_bytes,
        }
    }
}

/// Why the ways out cannot be made as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// A secret that the configuration names is not there.
    #[error("{key}: {reason}")]
    Secret {
        /// The key in `postern.toml`.
        key: &'static str,
        /// Why, without the value.
        reason: String,
    },
    /// Mail would leave the machine unprotected.
    #[error("`channels.email.security = \"none\"` is only for loopback, and `{0}` is not; use `starttls` or `tls`")]
    Unprotected(String),
    /// A user without a password, or the other way round.
    #[error("`channels.email` needs both `username` and `password`, or neither")]
    HalfLogin,
}

/// Every way out as configured. Those that are not configured capture.
#[derive(Clone)]
pub struct Channels {
    /// For mail.
    pub email: Arc<dyn Channel>,
    /// For text messages.
    pub sms: Arc<dyn Channel>,
    /// For callbacks; captures only when all do.
    pub webhook: Arc<dyn Channel>,
}

impl Channels {
    /// Secrets of providers are looked up once, now; those of callbacks at each attempt.
    ///
    /// # Errors
    /// When a secret is missing or mail would leave the machine unprotected.
    pub fn new(
        settings: &ChannelSettings,
        egress: &Egress,
        clock: &Clock,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<Self, ChannelError> {
        let capture: Arc<dyn Channel> = Arc::new(Capture);
        if settings.capture {
            return Ok(Self { email: capture.clone(), sms: capture.clone(), webhook: capture });
        }
        let email = match &settings.email {
            Some(channel) => email_channel(channel, egress, clock, &*secrets)?,
            None => capture.clone(),
        };
        let sms = match &settings.sms {
            Some(channel) => sms_channel(channel, egress, clock, &*secrets)?,
            None => capture,
        };
        let webhook = Arc::new(WebhookChannel::new(egress.clone(), clock.clone(), secrets));
        Ok(Self { email, sms, webhook })
    }

    /// The way out for a message.
    #[must_use]
    pub fn of(&self, message: &Message) -> &dyn Channel {
        match message {
            Message::Email(_) => &*self.email,
            Message::Sms(_) => &*self.sms,
            Message::Webhook(_) => &*self.webhook,
        }
    }
}

fn email_channel(
    channel: &EmailChannel,
    egress: &Egress,
    clock: &Clock,
    secrets: &dyn SecretSource,
) -> Result<Arc<dyn Channel>, ChannelError> {
    match channel {
        EmailChannel::Mailgun { domain, api_key, base_url } => {
            let key = secrets
                .secret(api_key)
                .map_err(|reason| ChannelError::Secret { key: "channels.email.api_key", reason })?;
            Ok(Arc::new(Mailgun::new(domain, &key, base_url.as_deref(), egress.clone(), clock.clone())))
        }
        EmailChannel::Smtp { host, port, security, username, password } => {
            let login = match (username, password) {
                (Some(user), Some(password)) => {
                    let password = secrets
                        .secret(password)
                        .map_err(|reason| ChannelError::Secret { key: "channels.email.password", reason })?;
                    Some((user.clone(), password))
                }
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => return Err(ChannelError::HalfLogin),
            };
            let server = SmtpServer { host: host.clone(), port: *port, security: *security, login };
            Ok(Arc::new(Smtp::new(server, egress.timeout())?))
        }
    }
}

fn sms_channel(
    channel: &SmsChannel,
    egress: &Egress,
    clock: &Clock,
    secrets: &dyn SecretSource,
) -> Result<Arc<dyn Channel>, ChannelError> {
    let secret =
        |key: &'static str, reference| secrets.secret(reference).map_err(|reason| ChannelError::Secret { key, reason });
    let (egress, clock) = (egress.clone(), clock.clone());
    Ok(match channel {
        SmsChannel::Twilio { account_sid, auth_token, api_key, messaging_service_sid, status_url, base_url } => {
            let account = TwilioAccount {
                account_sid: account_sid.clone(),
                api_key: api_key.clone(),
                secret: secret("channels.sms.auth_token", auth_token)?,
                messaging_service_sid: messaging_service_sid.clone(),
                status_url: status_url.clone(),
            };
            Arc::new(Twilio::new(&account, base_url.as_deref(), egress, clock))
        }
        SmsChannel::Telnyx { api_key, messaging_profile_id, status_url, base_url } => {
            let account = TelnyxAccount {
                api_key: secret("channels.sms.api_key", api_key)?,
                messaging_profile_id: messaging_profile_id.clone(),
                status_url: status_url.clone(),
            };
            Arc::new(Telnyx::new(&account, base_url.as_deref(), egress, clock))
        }
        SmsChannel::Vonage { api_key, api_secret, status_url, base_url } => {
            let account = VonageAccount {
                api_key: api_key.clone(),
                api_secret: secret("channels.sms.api_secret", api_secret)?,
                status_url: status_url.clone(),
            };
            Arc::new(Vonage::new(&account, base_url.as_deref(), egress, clock))
        }
        SmsChannel::Plivo { auth_id, auth_token, status_url, base_url } => {
            let account = PlivoAccount {
                auth_id: auth_id.clone(),
                auth_token: secret("channels.sms.auth_token", auth_token)?,
                status_url: status_url.clone(),
            };
            Arc::new(Plivo::new(&account, base_url.as_deref(), egress, clock))
        }
    })
}
