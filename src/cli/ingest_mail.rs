//! `ingest-mail`: hands a mail from standard input to a running server, for the pipe transports of mail servers.
//!
//! The exit codes are those of sysexits.h, by which a mail server decides between trying again and a bounce.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use crate::{
    cli::{Context, output},
    clock::Clock,
    config::secrets::read_secret,
    crypto::Secret,
    domain::{source::SecretRef, time::Span},
    egress::{Egress, EgressLimits, Policy, Request, answer::Answer},
    ingress::signing::{
        Stamp,
        raw::{RawMail, raw_mail},
    },
};

/// What to hand over, and to whom.
#[derive(Debug, Args)]
pub(super) struct IngestMail {
    /// The source, which has `provider = "raw_mail"`: https://postern.example.com/in/NAME.
    #[arg(long, value_name = "URL")]
    url: String,
    /// A file that holds the source's secret, whsec_….
    #[arg(long, value_name = "FILE", conflicts_with = "secret_env", required_unless_present = "secret_env")]
    secret_file: Option<PathBuf>,
    /// A variable that holds it.
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
    /// The envelope sender (MAIL FROM); empty or <> for bounces.
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    from: Option<String>,
    /// A variable that holds it: Exim sets SENDER, and puts no sender's address into arguments.
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    from_env: Option<String>,
    /// Bytes of a mail at most.
    #[arg(long, value_name = "BYTES", default_value_t = 26_214_400)]
    max_bytes: u32,
    /// Time for the server's answer.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = Span::parse)]
    timeout: Span,
    /// Exit with 75 (try again) also where secret, URL or settings are at fault, so that no mail bounces until they are
    /// right.
    #[arg(long)]
    defer: bool,
    /// The envelope recipients (RCPT TO).
    #[arg(value_name = "RECIPIENT")]
    recipients: Vec<String>,
}

/// How it failed, in the words of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The mail can never be read.
    BadMail = 65,
    /// The mail is larger than allowed.
    TooLarge = 69,
    /// It may go better later.
    Later = 75,
    /// The server does not believe us.
    Refused = 77,
    /// Our own settings are wrong.
    BadSettings = 78,
}

type Failure = (Ending, String);

pub(super) async fn ingest_mail(context: &Context, arguments: &IngestMail) -> ExitCode {
    let (ending, message) = match hand_over(context, arguments).await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let ending = match ending {
        Ending::Refused | Ending::BadSettings if arguments.defer => Ending::Later,
        Ending::BadMail | Ending::TooLarge | Ending::Later | Ending::Refused | Ending::BadSettings => ending,
    };
    // Mail servers put this line into their log, or into the bounce.
    output::note(output::one_line(&message, 300));
    ExitCode::from(ending as u8)
}

async fn hand_over(context: &Context, arguments: &IngestMail) -> Result<(), Failure> {
    let settings = |fault: String| (Ending::BadSettings, fault);
    let secret = secret(context, arguments).map_err(settings)?;
    let raw = mail(arguments.max_bytes)?;
    let named = || arguments.from_env.as_ref().and_then(|name| context.environment.get(name));
    let from = arguments.from.as_deref().or_else(named).map(|from| if from == "<>" { "" } else { from });
    let mail = RawMail { envelope_from: from, envelope_to: &arguments.recipients, raw: &raw };
    let stamp = Stamp { url: &arguments.url, secret: Some(&secret), key: None, now: Clock::system().now(), unique: "" };
    let request = raw_mail(&mail, &stamp).map_err(settings)?;
    let limits = EgressLimits { allow_networks: Vec::new(), timeout: arguments.timeout, max_answer_bytes: 64 << 10 };
    let egress = Egress::new(&limits).map_err(|fault| settings(fault.to_string()))?;
    let request = Request::post(arguments.url.clone(), request.body).lines(&request.headers);
    let request = request.map_err(|fault| settings(fault.to_string()))?;
    match egress.send(Policy::Trusted, request).await {
        Ok(answer) if answer.is_success() => Ok(()),
        Ok(answer) => Err(failure(&answer)),
        Err(fault) if fault.is_final() => Err(settings(format!("--url: {fault}"))),
        Err(fault) => Err((Ending::Later, fault.to_string())),
    }
}

fn secret(context: &Context, arguments: &IngestMail) -> Result<Secret, String> {
    let reference = match (&arguments.secret_file, &arguments.secret_env) {
        (Some(file), _) => SecretRef::File { file: file.display().to_string() },
        (None, Some(env)) => SecretRef::Env { env: env.clone() },
        (None, None) => return Err("no secret; say --secret-file or --secret-env".to_owned()),
    };
    read_secret(&reference, &context.project, &context.environment)
}

fn mail(most: u32) -> Result<Vec<u8>, Failure> {
    let mut raw = Vec::new();
    let read = io::stdin().lock().take(u64::from(most) + 1).read_to_end(&mut raw);
    read.map_err(|fault| (Ending::Later, format!("standard input cannot be read: {fault}")))?;
    if raw.len() > most as usize {
        return Err((Ending::TooLarge, format!("the mail has more than {most} bytes")));
    }
    if raw.is_empty() {
        return Err((Ending::BadMail, "standard input is empty; pipe a mail into it".to_owned()));
    }
    Ok(raw)
}

/// What a server's refusal means for the mail.
fn failure(answer: &Answer) -> Failure {
    let body = answer.json();
    let detail = body["detail"].as_str().unwrap_or("no reason").to_owned();
    let message = format!("the server answered {}: {detail}", answer.status);
    match answer.status {
        400 | 406 | 422 => (Ending::BadMail, message),
        413 => (Ending::TooLarge, message),
        401 | 403 => (Ending::Refused, format!("{message}; check the secret and the clock")),
        408 | 425 | 429 | 500.. => (Ending::Later, message),
        _ => (Ending::BadSettings, format!("{message}; check --url")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, failure};
    use crate::egress::answer::Answer;

    #[test]
    fn a_mail_bounces_only_when_it_is_at_fault_or_the_settings_are() {
        let ending = |status: u16| failure(&Answer { status, is_whole: true, ..Answer::default() }).0;
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert_eq!(ending(status), Ending::Later, "{status}");
        }
        assert_eq!([400, 406, 422].map(ending), [Ending::BadMail; 3]);
        assert_eq!([401, 403].map(ending), [Ending::Refused; 2]);
        assert_eq!([301, 404, 405, 410].map(ending), [Ending::BadSettings; 4]);
        assert_eq!(ending(413), Ending::TooLarge);
    }
}
