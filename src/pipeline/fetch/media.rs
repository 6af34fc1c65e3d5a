//! Files of text messages that their provider keeps. Each is kept as soon as it is there; when all are, or have finally
//! failed, the message becomes the event that starts runs, and says what is missing.

use bytes::Bytes;

use crate::{
    domain::{event::Media, fetch::FetchSpec, id::EventId, source::Source, time::Timestamp},
    egress::answer::Answer,
    ingress::{media, stored},
    pipeline::{
        execute::spread,
        fetch::{FetchStored, PATIENCE, Unable},
    },
    queue::Job,
    store::{FetchEnd, FetchState, FetchWork, FetchedFile, FileEnd},
};

/// The wait before the second try; each next one is twice as long. Twilio tells of files a moment before it has them.
const FIRST_WAIT_MS: i64 = 2_000;
/// The longest wait between two tries, unless the provider asks for more.
const LONGEST_WAIT_MS: i64 = 600_000;
/// How often a file is tried at least, however late the first try comes.
const LEAST_TRIES: i64 = 3;

/// A try of one file: how it ends, and how long the provider wants to be left alone.
struct Tried {
    end: FileEnd,
    wait_ms: Option<i64>,
}

impl From<FileEnd> for Tried {
    fn from(end: FileEnd) -> Self {
        Self { end, wait_ms: None }
    }
}

impl FetchStored {
    /// Tries each file once that is not there yet.
    pub(super) async fn try_files(&self, job: &Job, work: &FetchWork, media: &[Media]) -> Result<FetchEnd, Unable> {
        let told = &work.event.event;
        let mut files = work.files.clone();
        // A worker before may have come as far as the message's event.
        if let Some(event) = self.store.event_of_key(told, &stored::key_of(told)).await? {
            return Ok(ended(event, &files));
        }
        let catalog = self.store.catalog(&told.tenant).await?;
        let Some(source) = catalog.sources.get(&told.source_name) else {
            return Ok(FetchEnd::Failed("its source is gone".to_owned(), None));
        };
        let fetch = source.spec.fetch.clone().unwrap_or_default();
        let patience = fetch.give_up_after.unwrap_or(FetchSpec::GIVE_UP_AFTER);
        let (now, until) = (self.store.clock().now(), told.received_at.plus_ms(patience.0));
        // `None` when this try is the last one.
        let mut next = next_try(now, until, work.tries).map(|wait_ms| now.plus_ms(wait_ms));
        for place in 0..files.len() {
            let (Some(media), true) = (media.get(place), files[place].state == FetchState::Pending) else { continue };
            let Tried { end, wait_ms } = match job.claimed().lost > self.max_lost {
                true => FileEnd::Failed("its worker vanished several times".to_owned()).into(),
                false => self.fetch_file(media, source, &files, place).await,
            };
            let end = match (end, next) {
                (FileEnd::Again(why), None) => FileEnd::Failed(format!("{why}, in {} tries", files[place].tries + 1)),
                (end, _) => end,
            };
            if !self.store.record_file(job.lease(), place, &end).await? {
                return Err(Unable);
            }
            // The provider may ask for more time, but not for more than there is.
            let asked = wait_ms.map(|wait| self.store.clock().now().plus_ms(wait).min(until));
            next = next.map(|at| asked.map_or(at, |asked| at.max(asked)));
            note(&mut files[place], end);
        }
        if let (Some(waiting), Some(at)) = (files.iter().find(|file| file.state == FetchState::Pending), next) {
            return Ok(FetchEnd::Again(waiting.detail.clone().unwrap_or_default(), at));
        }
        let fetched = self.store.fetched_bytes(&told.id).await?;
        let Some(parsed) = media::message(told, told_of(media, &files), raw_files(&files, fetched)) else {
            return Ok(FetchEnd::Failed("the event is no text message".to_owned(), None));
        };
        let event = self.accept(told, &catalog, parsed, Bytes::new()).await?;
        for missing in files.iter().filter(|file| file.state == FetchState::Failed) {
            let (place, detail) = (missing.position, missing.detail.as_deref());
            tracing::error!(event = %told.id, tenant = %told.tenant, place, detail, "a file could not be fetched");
        }
        Ok(ended(event, &files))
    }

    async fn fetch_file(&self, media: &Media, source: &Source, files: &[FetchedFile], place: usize) -> Tried {
        let (policy, fetch) = (&source.spec.attachments, source.spec.fetch.clone().unwrap_or_default());
        if place >= usize::try_from(policy.max_count).unwrap_or(usize::MAX) {
            return FileEnd::Failed(format!("the source keeps {} files of an event", policy.max_count)).into();
        }
        let so_far: u64 = files.iter().filter_map(|file| file.size).sum();
        let room = self.most_bytes(source).saturating_sub(usize::try_from(so_far).unwrap_or(usize::MAX));
        let most = room.min(usize::try_from(policy.max_bytes).unwrap_or(usize::MAX));
        let (egress_policy, request, redirects) =
            match media::request(media, &source.spec.provider, &fetch, &*self.secrets) {
                Ok(request) => request,
                Err(fault) if fault.is_final() => return FileEnd::Failed(fault.to_string()).into(),
                Err(fault) => return FileEnd::Again(fault.to_string()).into(),
            };
        let answer = match self.egress.follow(egress_policy, request.within(PATIENCE, most), redirects).await {
            Ok(answer) => answer,
            Err(fault) if fault.is_final() => return FileEnd::Failed(fault.to_string()).into(),
            Err(fault) => return FileEnd::Again(fault.to_string()).into(),
        };
        let wait_ms = answer.retry_after_ms(self.store.clock().now());
        let end = match answer {
            Answer { status: 200, is_whole: true, head, body, .. } => {
                let file = media::file(media, place, &head, body);
                FileEnd::Fetched { filename: file.filename, content_type: file.content_type, bytes: file.bytes }
            }
            Answer { status: 200, body, .. } if body.len() >= most && most < room => {
                FileEnd::Failed(format!("it is larger than {most} bytes; the source keeps files up to that"))
            }
            Answer { status: 200, body, .. } if body.len() >= most => {
                let limit = self.most_bytes(source);
                FileEnd::Failed(format!("the message's files are larger than {limit} bytes (max_body_bytes)"))
            }
            Answer { status: 200, .. } => FileEnd::Again("the answer broke off".to_owned()),
            // It may not be there yet, or the provider has trouble.
            Answer { status: status @ (404 | 408 | 425 | 429 | 500..=599), .. } => {
                FileEnd::Again(format!("the provider answered {status}"))
            }
            Answer { status: status @ (401 | 403), .. } => {
                FileEnd::Failed(format!("the provider answered {status}: see the login in the source's `fetch`"))
            }
            Answer { status, .. } => FileEnd::Failed(format!("the provider answered {status}")),
        };
        Tried { end, wait_ms }
    }
}

/// The wait until the next try in milliseconds; `None` when there is none.
fn next_try(now: Timestamp, until: Timestamp, tries: i64) -> Option<i64> {
    let left = until.0.saturating_sub(now.0);
    if left <= 0 && tries + 1 >= LEAST_TRIES {
        return None;
    }
    let doubled = FIRST_WAIT_MS.saturating_mul(1 << tries.clamp(0, 20));
    let wait = spread(doubled.min(LONGEST_WAIT_MS));
    Some(if left > 0 { wait.min(left) } else { wait })
}

fn note(file: &mut FetchedFile, end: FileEnd) {
    file.tries += 1;
    (file.state, file.detail) = match end {
        FileEnd::Fetched { filename, content_type, bytes } => {
            (file.filename, file.content_type, file.size) = (Some(filename), content_type, Some(bytes.len() as u64));
            (FetchState::Fetched, None)
        }
        FileEnd::Failed(detail) => (FetchState::Failed, Some(detail)),
        FileEnd::Again(detail) => (FetchState::Pending, Some(detail)),
    };
}

/// The message's references, with why each missing file is missing.
fn told_of(media: &[Media], files: &[FetchedFile]) -> Vec<Media> {
    let one = |(media, file): (&Media, &FetchedFile)| {
        let missing = (file.state != FetchState::Fetched).then(|| file.detail.clone().unwrap_or_default());
        Media { missing, ..media.clone() }
    };
    media.iter().zip(files).map(one).collect()
}

/// Each file that is there with its place.
fn raw_files(files: &[FetchedFile], fetched: Vec<(usize, Vec<u8>)>) -> Vec<media::Placed> {
    let one = |(place, bytes): (usize, Vec<u8>)| {
        let file = files.get(place)?;
        let filename = file.filename.clone()?;
        Some(media::Placed { place, filename, content_type: file.content_type.clone(), bytes })
    };
    fetched.into_iter().filter_map(one).collect()
}

fn ended(event: EventId, files: &[FetchedFile]) -> FetchEnd {
    let missing = files.iter().filter(|file| file.state != FetchState::Fetched).count();
    match missing {
        0 => FetchEnd::Fetched(event),
        _ => FetchEnd::Failed(format!("{missing} of {} files could not be fetched", files.len()), Some(event)),
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST_TRIES, next_try};
    use crate::domain::time::Timestamp;

    #[test]
    fn waits_grow_end_with_the_patience_and_give_a_late_worker_its_tries() {
        let until = Timestamp(900_000);
        let (mut now, mut tries) = (Timestamp(0), 0);
        while let Some(wait) = next_try(now, until, tries) {
            assert!((1_000..=600_000).contains(&wait) || now.0 + wait == until.0, "{wait}");
            (now, tries) = (now.plus_ms(wait), tries + 1);
        }
        assert_eq!(now, until);
        assert!((8..=14).contains(&tries), "{tries}");
        let late = Timestamp(5_000_000);
        let waits = (0..10).take_while(|tries| next_try(late, until, *tries).is_some()).count();
        assert_eq!(i64::try_from(waits).unwrap() + 1, LEAST_TRIES);
    }
}
