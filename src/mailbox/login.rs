//! From a host's name to a session that is logged in.

use data_encoding::BASE64;

use crate::{
    crypto::Secret,
    domain::imap::{ImapSecurity, ImapSpec},
    egress::stream::Streams,
    mailbox::{MailboxError, command::Command, session::Session, wire::Limits},
};

/// Connects and logs in. `secret` is the password, or the access token where the settings name one.
///
/// # Errors
/// When that does not work; nothing of the secret is in the error.
pub async fn open(streams: &Streams, spec: &ImapSpec, secret: &Secret) -> Result<Session, MailboxError> {
    let stream = streams.connect(&spec.host, spec.port()).await?;
    let (mut session, known) = match spec.security {
        ImapSecurity::Tls => Session::greet(streams.protect(&spec.host, stream).await?).await?,
        ImapSecurity::None => Session::greet(stream).await?,
        ImapSecurity::Starttls => {
            let (mut plain, known) = Session::greet(stream).await?;
            plain.ask_capabilities().await?;
            if known || !plain.has("STARTTLS") {
                return Err(MailboxError::Missing("STARTTLS; write security = \"tls\" if it speaks TLS at once"));
            }
            plain.run(Command::new("STARTTLS"), Limits::SHORT, |_| {}).await?;
            (Session::over(streams.protect(&spec.host, plain.into_stream()?).await?), false)
        }
    };
    if !known {
        session.ask_capabilities().await?;
        log_in(&mut session, spec, secret).await.map_err(|fault| about_login(fault, secret))?;
    }
    // Servers offer more to those whom they know.
    session.ask_capabilities().await?;
    Ok(session)
}

async fn log_in(session: &mut Session, spec: &ImapSpec, secret: &Secret) -> Result<(), MailboxError> {
    let text = secret.expose_str().ok_or(MailboxError::Login("the secret is no UTF-8 text".to_owned()))?;
    if spec.token.is_some() {
        // developers.google.com/workspace/gmail/imap/xoauth2-protocol; Microsoft's is the same.
        return authenticate(session, "XOAUTH2", format!("user={}\x01auth=Bearer {text}\x01\x01", spec.username)).await;
    }
    if session.has("AUTH=PLAIN") {
        return authenticate(session, "PLAIN", format!("\0{}\0{text}", spec.username)).await;
    }
    if session.has("LOGINDISABLED") {
        return Err(MailboxError::Missing("login by password; write `token`, or another `security`"));
    }
    session.run(Command::new("LOGIN").string(&spec.username).string(text), Limits::SHORT, |_| {}).await
}

/// One answer, sent when the server is ready for it; any further challenge is the explanation of a refusal and is
/// answered by an empty line.
async fn authenticate(session: &mut Session, mechanism: &'static str, answer: String) -> Result<(), MailboxError> {
    const NAME: &str = "AUTHENTICATE";
    let answer = zeroize::Zeroizing::new(answer);
    let tag = session.send(Command::new(NAME).word(mechanism), Limits::SHORT).await?;
    let mut line = BASE64.encode(answer.as_bytes());
    // A second challenge explains a refusal, which then waits for an empty answer.
    for _ in 0..2 {
        if session.ready(NAME, &tag).await?.is_none() {
            return Ok(());
        }
        session.send_line(line.as_bytes()).await?;
        line.clear();
    }
    session.finish(NAME, &tag, |_| {}).await
}

/// A refusal of these commands is one of the login. Words in which the server repeats the secret are not shown.
fn about_login(fault: MailboxError, secret: &Secret) -> MailboxError {
    let MailboxError::Refused { text, .. } = fault else { return fault };
    let repeated = secret.expose_str().is_some_and(|secret| text.contains(secret));
    MailboxError::Login(if repeated { "for reasons that repeat the secret".to_owned() } else { text })
}
