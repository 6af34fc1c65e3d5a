//! Artifacts that go with a run's answer, since its trigger's `reply` says so.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    domain::{
        delivery::{EmailMessage, MAX_SENT_BYTES, MAX_SENT_FILES, Message, SentFile},
        file::Artifact,
        run::MessageKind,
        trigger::Attach,
    },
    ingress::mail::safe_filename,
    outbound::email::media_type::media_type,
    pipeline::{answering, execute::Execute, insist::insist},
    queue::Job,
    store::{NewDelivery, NewMessage, RunWork},
};

/// Artifacts that are named in the record when they do not go with an answer; of more only the number is.
const MOST_NAMED: usize = 10;

/// What goes with a mail, and what does not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sorted {
    sent: Vec<SentFile>,
    left_out: Vec<String>,
}

impl Execute {
    /// Gives the answer of a run that succeeded its artifacts: a mail carries them, a callback names them. Database
    /// trouble is waited out as long as the lease holds; `None` when it does not any more.
    pub(super) async fn attach(
        &self,
        job: &Job,
        work: &RunWork,
        deliveries: &mut [NewDelivery],
        lines: &mut Vec<NewMessage>,
    ) -> Option<()> {
        let reply = work.agent.spec.triggers.get(work.newest().1).and_then(|trigger| trigger.reply.as_ref());
        let (Some(Attach::Artifacts), [owed]) = (reply.and_then(|reply| reply.attach()), deliveries) else {
            return Some(());
        };
        if lines.iter().any(|line| line.kind == MessageKind::Result && line.body["state"] != "succeeded") {
            return Some(());
        }
        let left = insist(job, "reading artifacts", || self.store.artifacts(&work.run.tenant, &work.run.id)).await?;
        let total = left.len();
        let (sent, left_out) = match &mut owed.message {
            Message::Webhook(callback) => {
                callback.data["artifacts"] = json!(left);
                return Some(());
            }
            Message::Sms(_) => (0, vec!["all of them: it is a text message".to_owned()]),
            Message::Email(email) => {
                let Sorted { sent, mut left_out } = sort(email, left);
                let hashes: Vec<String> = sent.iter().map(|file| file.sha256.clone()).collect();
                let (id, first) = (owed.id.clone(), email.files.len());
                let kept =
                    insist(job, "attaching artifacts", || self.store.attach_artifacts(work, &id, first, &hashes))
                        .await??;
                left_out.extend(sent.iter().skip(kept).map(|file| format!("{} (not kept any more)", file.filename)));
                email.files.extend(sent.into_iter().take(kept));
                owed.echo = answering::echo(work, &owed.message);
                (kept, left_out)
            }
        };
        if total > 0 && !left_out.is_empty() {
            let more = left_out.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = left_out.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
            let text = format!("{sent} of {total} artifacts go with the answer; left out: {named}{more}");
            let body = json!({"text": text});
            lines.push(NewMessage { kind: MessageKind::Status, at: self.store.clock().now(), body });
        }
        Some(())
    }
}

/// Those that fit into a mail beside the files that it has, in their order, each under a name of its own.
fn sort(email: &EmailMessage, artifacts: Vec<Artifact>) -> Sorted {
    let mut room = email.files.iter().fold(MAX_SENT_BYTES, |room, file| room.saturating_sub(file.size));
    let mut names: BTreeSet<String> = email.files.iter().map(|file| file.filename.to_lowercase()).collect();
    let mut sorted = Sorted::default();
    for artifact in artifacts {
        let size = u64::try_from(artifact.size).unwrap_or(u64::MAX);
        let sha256 = match (artifact.sha256, artifact.left_out) {
            (Some(sha256), None) => sha256,
            (_, why) => {
                sorted.left_out.push(format!("{} ({})", artifact.name, why.as_deref().unwrap_or("not kept")));
                continue;
            }
        };
        if email.files.iter().any(|file| file.sha256 == sha256) {
            continue;
        }
        let why = if email.files.len() + sorted.sent.len() >= MAX_SENT_FILES {
            format!("{MAX_SENT_FILES} files are the most")
        } else if size > room {
            format!("the files of an answer are {} MiB at most", MAX_SENT_BYTES >> 20)
        } else {
            room -= size;
            let filename = own_name(&safe_filename(&artifact.name), &mut names);
            sorted.sent.push(SentFile { media_type: media_type(&filename).to_owned(), filename, size, sha256 });
            continue;
        };
        sorted.left_out.push(format!("{} ({why})", artifact.name));
    }
    sorted
}

/// `name`, with a number before its ending when another file has it.
fn own_name(name: &str, names: &mut BTreeSet<String>) -> String {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
        Some(_) | None => (name, String::new()),
    };
    let numbered = (2_u32..).map(|number| format!("{stem} ({number}){ending}"));
    let mut tried = std::iter::once(name.to_owned()).chain(numbered);
    tried.find(|name| names.insert(name.to_lowercase())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{EmailMessage, MAX_SENT_BYTES, SentFile, sort};
    use crate::domain::file::Artifact;

    fn artifact(name: &str, size: i64) -> Artifact {
        let content_type = "text/plain".to_owned();
        Artifact { name: name.to_owned(), content_type, size, sha256: Some(format!("hash of {name}")), left_out: None }
    }

    fn mail(files: &[(&str, u64, &str)]) -> EmailMessage {
        let files = files.iter().map(|(name, size, sha256)| SentFile {
            filename: (*name).to_owned(),
            media_type: "text/plain".to_owned(),
            size: *size,
            sha256: (*sha256).to_owned(),
        });
        EmailMessage {
            from: String::new(),
            to: String::new(),
            subject: String::new(),
            text: String::new(),
            in_reply_to: None,
            references: Vec::new(),
            quote: None,
            reply_token: None,
            hops: 1,
            hops_proof: None,
            files: files.collect(),
        }
    }

    #[test]
    fn artifacts_go_beside_the_files_of_the_answer_as_long_as_there_is_room() {
        let email = mail(&[("a.pdf", MAX_SENT_BYTES - 100, "one"), ("b.txt", 0, "hash of same.txt")]);
        let mut secret = artifact("leak", 1);
        (secret.sha256, secret.left_out) = (None, Some("the value of a secret is in it".to_owned()));
        let left = vec![
            artifact("may/A.pdf", 60),
            artifact("june/a.pdf", 30),
            artifact("large.bin", 11),
            secret,
            artifact("same.txt", 5),
            artifact("small", 10),
        ];
        let sorted = sort(&email, left);
        let names: Vec<&str> = sorted.sent.iter().map(|file| file.filename.as_str()).collect();
        assert_eq!(names, ["A (2).pdf", "a (3).pdf", "small"]);
        assert_eq!(
            sorted.left_out,
            ["large.bin (the files of an answer are 15 MiB at most)", "leak (the value of a secret is in it)"]
        );
    }

    #[test]
    fn files_of_an_answer_are_counted() {
        let left: Vec<Artifact> = (0..12).map(|number| artifact(&number.to_string(), 1)).collect();
        let sorted = sort(&mail(&[("a", 1, "one")]), left);
        assert_eq!((sorted.sent.len(), sorted.left_out.len()), (9, 3));
        assert_eq!(sorted.left_out[0], "9 (10 files are the most)");
    }
}
