//! The events of runs that take several with them.

use std::collections::{BTreeMap, HashSet};

use crate::{
    domain::{
        event::{AgentEvent, Attachment},
        id::{EventId, RunId, TenantId},
        run::Run,
        template::clip,
    },
    store::{EventRecord, Store, StoreError, attachments::AttachmentRow, on_engine, rows},
};

/// Events that are read with one statement.
const PIECE: usize = 100;
/// Bytes of a file's name, as file systems take them.
const LONGEST_NAME: usize = 255;

/// Whether a run has further events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Several {
    No,
    Yes,
}

/// A file with its bytes.
type File = (Attachment, Vec<u8>);

#[derive(sqlx::FromRow)]
struct FileOfEvent {
    event_id: String,
    #[sqlx(flatten)]
    attachment: AttachmentRow,
}

impl Store {
    /// The events of a run, in the order in which they came; none when there is no such run.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_events(&self, tenant: &TenantId, run: &RunId) -> Result<Vec<EventId>, StoreError> {
        let sql = "SELECT event_id, 0 AS position FROM runs WHERE tenant_id = $1 AND id = $2 \
                   UNION ALL SELECT event_id, position FROM run_events WHERE tenant_id = $1 AND run_id = $2 ORDER BY 2";
        let found: Vec<(String, i64)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(run.as_str()).fetch_all(db.read()).await?
        });
        found.iter().map(|(id, _)| rows::id("run_events", id)).collect()
    }

    /// The newest event of a run, those before it, and all their files.
    pub(super) async fn all_events(
        &self,
        run: &Run,
        several: Several,
    ) -> Result<(EventRecord, Vec<EventRecord>, Vec<File>), StoreError> {
        let first = self.event(&run.tenant, &run.event).await?;
        let first = first.ok_or_else(|| rows::unreadable(run.id.as_str(), "event_id", "no such event"))?;
        if several == Several::No {
            let has_files = !first.event.attachments.is_empty();
            let files = if has_files { self.files(&run.event).await? } else { Vec::new() };
            return Ok((first, Vec::new(), files));
        }
        let ids = self.run_events(&run.tenant, &run.id).await?;
        let further: Vec<String> = ids.iter().skip(1).map(ToString::to_string).collect();
        let mut found: BTreeMap<EventId, EventRecord> = BTreeMap::new();
        for some in further.chunks(PIECE) {
            found.extend(
                self.records(&run.tenant, some).await?.into_iter().map(|record| (record.event.id.clone(), record)),
            );
        }
        let mut records = vec![first];
        // One that is gone was deleted for its age; the run goes on with the others.
        records.extend(ids.iter().skip(1).filter_map(|id| found.remove(id)));
        let mut files = Vec::new();
        for record in records.iter().filter(|record| !record.event.attachments.is_empty()) {
            files.push((record.event.id.clone(), self.files(&record.event.id).await?));
        }
        let files = with_own_names(&mut records, files);
        let newest = records.pop().ok_or_else(|| rows::unreadable(run.id.as_str(), "event_id", "no such event"))?;
        Ok((newest, records, files))
    }

    async fn records(&self, tenant: &TenantId, ids: &[String]) -> Result<Vec<EventRecord>, StoreError> {
        let events = format!(
            "SELECT {} FROM events e LEFT JOIN raw_requests r ON r.id = e.request_id WHERE e.tenant_id = $1 AND e.id @any($2)",
            rows::EVENT
        );
        let files = "SELECT event_id, id, filename, content_type, size, sha256, content_id, sniffed_type, within, refused \
                     FROM attachments WHERE tenant_id = $1 AND event_id @any($2) ORDER BY event_id, position";
        let (events, files): (Vec<rows::EventRow>, Vec<FileOfEvent>) = on_engine!(self, |db| {
            let list = db.list(ids);
            let events = sqlx::query_as(db.sql(&events)).bind(tenant.as_str()).bind(&list).fetch_all(db.read()).await?;
            let files = sqlx::query_as(db.sql(files)).bind(tenant.as_str()).bind(&list).fetch_all(db.read()).await?;
            (events, files)
        });
        let mut files_of: BTreeMap<String, Vec<Attachment>> = BTreeMap::new();
        for file in files {
            files_of.entry(file.event_id).or_default().push(file.attachment.read()?);
        }
        let read = |row: rows::EventRow| {
            let files = files_of.remove(&row.id).unwrap_or_default();
            row.read(files)
        };
        events.into_iter().map(read).collect()
    }
}

/// Names the files of further events anew where an earlier one's has the name, in the events and beside the bytes alike.
fn with_own_names(records: &mut [EventRecord], files: Vec<(EventId, Vec<File>)>) -> Vec<File> {
    let mut taken = HashSet::new();
    let mut named = BTreeMap::new();
    for (place, record) in records.iter_mut().enumerate() {
        rename(&mut record.event, place + 1, &mut taken, &mut named);
    }
    let all = files.into_iter().flat_map(|(_, files)| files);
    all.map(|(mut file, bytes)| {
        if let Some((name, within)) = named.remove(&file.id) {
            (file.filename, file.within) = (name, within);
        }
        (file, bytes)
    })
    .collect()
}

/// By the file's id: its name, and the name of what it was taken out of.
type Names = BTreeMap<crate::domain::id::AttachmentId, (String, Option<String>)>;

fn rename(event: &mut AgentEvent, number: usize, taken: &mut HashSet<String>, named: &mut Names) {
    let mut new_names: BTreeMap<String, String> = BTreeMap::new();
    for file in &mut event.attachments {
        let mut name = file.filename.clone();
        let mut count = number;
        while !taken.insert(name.to_lowercase()) {
            name = numbered(&file.filename, count);
            count += 1;
        }
        new_names.insert(std::mem::replace(&mut file.filename, name.clone()), name);
    }
    for file in &mut event.attachments {
        file.within = file.within.take().map(|outer| new_names.get(&outer).cloned().unwrap_or(outer));
        named.insert(file.id.clone(), (file.filename.clone(), file.within.clone()));
    }
}

/// `report.pdf` as `report-2.pdf`.
fn numbered(name: &str, number: usize) -> String {
    let (stem, kind) = match name.rsplit_once('.') {
        Some((stem, kind)) if !stem.is_empty() && kind.len() <= 16 => (stem, format!(".{kind}")),
        Some(_) | None => (name, String::new()),
    };
    let tail = format!("-{number}{kind}");
    format!("{}{tail}", clip(stem, LONGEST_NAME - tail.len()))
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn a_name_that_is_taken_gets_a_number_before_its_kind() {
        for (name, expected) in [("a.pdf", "a-2.pdf"), ("a", "a-2"), (".env", ".env-2"), ("a.tar.gz", "a.tar-2.gz")] {
            assert_eq!(numbered(name, 2), expected);
        }
        let long = format!("{}.txt", "é".repeat(125));
        assert!(numbered(&long, 1000).len() <= 255 && numbered(&long, 1000).ends_with("-1000.txt"));
    }
}
