//! Reading mail: known traps of the format, hostile mail, and a sample of other projects' mails.

mod carried;
mod fixtures;
mod fuzz;
mod harness;
mod hostile;
mod replies;
mod scores;
mod traps;

use postern::ingress::mail::{MailFault, MailLimits, ReadMail, read_mime};

fn read(raw: impl AsRef<[u8]>) -> ReadMail {
    try_read(raw).unwrap()
}

fn try_read(raw: impl AsRef<[u8]>) -> Result<ReadMail, MailFault> {
    read_mime(raw.as_ref(), &MailLimits::default())
}

/// A mail of one part.
fn mail(headers: &str, body: &str) -> String {
    let body = body.replace('\n', "\r\n");
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let from = if headers.contains("From:") { "" } else { "From: Alice <alice@example.org>\r\n" };
    format!(
        "{from}To: agent@agents.example\r\nMessage-ID: <h1@example.org>\r\nMIME-Version: 1.0\r\n{headers}\r\n{body}"
    )
}

/// A multipart mail with the boundary `b`.
fn multipart(subtype: &str, parts: &[&str]) -> String {
    let body: String = parts.iter().map(|part| format!("--b\n{part}\n")).collect();
    mail(&format!("Content-Type: multipart/{subtype}; boundary=b"), &format!("{body}--b--\n"))
}

/// An attachment with these parameters of `Content-Disposition`.
fn attachment(parameters: &str, body: &str) -> String {
    format!("Content-Type: application/octet-stream\nContent-Disposition: attachment; {parameters}\n\n{body}")
}

const TEXT: &str = "Content-Type: text/plain; charset=utf-8\n\nHELLO text";
