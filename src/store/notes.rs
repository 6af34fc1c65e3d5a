//! What agents keep for later runs.

use crate::{
    domain::{
        id::{RunId, TenantId},
        note::{MOST_NOTES, Note, NoteOwner},
        time::Timestamp,
        trust::Trust,
    },
    store::{Lease, Store, StoreError, clean, on_engine, rows},
};

/// What became of a note that is to be kept or forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is.
    Done,
    /// It is, and this one, the oldest of those by senders who are trusted less, was forgotten for it.
    InPlaceOf(String),
    /// There was none to forget.
    Nothing,
    /// It stands as written by a run whose sender was trusted more.
    Protected,
    /// There is no room.
    Full,
    /// The run belongs to somebody else: nothing was written.
    LeaseLost,
}

/// A note as it is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewNote<'a> {
    /// Whose.
    pub owner: &'a NoteOwner,
    /// Its name.
    pub key: &'a str,
    /// What it says; `None`: it is forgotten.
    pub value: Option<&'a str>,
    /// How far whoever started the run is trusted.
    pub trust: Trust,
}

const HOLD: &str =
    "UPDATE runs SET lease = lease WHERE id = $1 AND lease = $2 AND state = 'running' RETURNING tenant_id";
const ALL: &str =
    "SELECT key, value, run_id, trust, at FROM notes WHERE tenant_id = $1 AND owner = $2 ORDER BY key LIMIT $3";
const HEADS: &str = "SELECT key, trust, at FROM notes WHERE tenant_id = $1 AND owner = $2 ORDER BY at, key";
const KEEP: &str = "INSERT INTO notes (owner, key, tenant_id, value, run_id, trust, at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
    ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value, run_id = excluded.run_id, trust = excluded.trust, \
    at = excluded.at";
const FORGET: &str = "DELETE FROM notes WHERE tenant_id = $1 AND owner = $2 AND key = $3";
/// Writers of one owner's notes go one by one.
const LOCK_AGENT: &str = "UPDATE agents SET name = name WHERE id = $1";

type Head = (String, String, i64);

impl Store {
    /// Keeps or forgets a note, for the run under `lease`. What a run wrote whose sender was trusted more stays: else
    /// strangers could change what an agent knows.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn note(&self, lease: &Lease, note: NewNote<'_>) -> Result<Noted, StoreError> {
        let now = self.clock.now().0;
        let (key, owner) = (clean(note.key), note.owner.as_str());
        let lock = match note.owner {
            NoteOwner::Session(_) => super::runs::LOCK_LANE,
            NoteOwner::Agent(_) => LOCK_AGENT,
        };
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(lock).bind(owner).execute(&mut *tx).await?;
            let held: Option<(String,)> =
                sqlx::query_as(HOLD).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            let Some((tenant,)) = held else { return Ok(Noted::LeaseLost) };
            let heads: Vec<Head> = sqlx::query_as(HEADS).bind(&tenant).bind(owner).fetch_all(&mut *tx).await?;
            let before = heads.iter().find(|(known, ..)| *known == key);
            if let Some((_, trust, _)) = before
                && rows::word::<Trust>(owner, "trust", trust)? < note.trust
            {
                return Ok(Noted::Protected);
            }
            let mut noted = Noted::Done;
            let gone = match (note.value, before) {
                (None, None) => return Ok(Noted::Nothing),
                (None, Some(_)) => Some(key.as_ref()),
                (Some(_), None) if heads.len() >= MOST_NOTES => {
                    let Some(oldest) = least_trusted(&heads, note.trust) else { return Ok(Noted::Full) };
                    noted = Noted::InPlaceOf(oldest.to_owned());
                    Some(oldest)
                }
                (Some(_), _) => None,
            };
            if let Some(gone) = gone {
                sqlx::query(FORGET).bind(&tenant).bind(owner).bind(gone).execute(&mut *tx).await?;
            }
            if let Some(value) = note.value {
                let keep = sqlx::query(KEEP).bind(owner).bind(key.as_ref()).bind(&tenant);
                let keep = keep.bind(clean(value).into_owned()).bind(&lease.id).bind(note.trust.as_str()).bind(now);
                keep.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(noted)
        })
    }

    /// All notes of a session or an agent, by their keys.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn notes(&self, tenant: &TenantId, owner: &NoteOwner) -> Result<Vec<Note>, StoreError> {
        let most = i64::try_from(MOST_NOTES).unwrap_or(i64::MAX);
        let found: Vec<(String, String, String, String, i64)> = on_engine!(self, |db| {
            let query = sqlx::query_as(ALL).bind(tenant.as_str()).bind(owner.as_str());
            query.bind(most).fetch_all(db.read()).await?
        });
        let read = |(key, value, run, trust, at): (String, String, String, String, i64)| {
            let run: RunId = rows::id("notes", &run)?;
            Ok(Note { trust: rows::word(&key, "trust", &trust)?, run, at: Timestamp(at), key, value })
        };
        found.into_iter().map(read).collect()
    }

    /// Forgets one note, or all, because a person says so. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_notes(
        &self,
        tenant: &TenantId,
        owner: &NoteOwner,
        key: Option<&str>,
    ) -> Result<u64, StoreError> {
        let all = "DELETE FROM notes WHERE tenant_id = $1 AND owner = $2";
        Ok(on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let forget =
                sqlx::query(if key.is_some() { FORGET } else { all }).bind(tenant.as_str()).bind(owner.as_str());
            let gone = match key {
                Some(key) => forget.bind(clean(key).into_owned()).execute(&mut *tx).await?,
                None => forget.execute(&mut *tx).await?,
            };
            tx.commit().await?;
            gone.rows_affected()
        }))
    }

    /// Removes the notes of sessions that are closed and have no open work: nobody goes on with them. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_notes(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM notes WHERE owner IN (SELECT DISTINCT n.owner FROM notes n JOIN sessions s ON s.id = n.owner \
                   WHERE s.closed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.lane = s.id) LIMIT 500)";
        Ok(on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let gone = sqlx::query(sql).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            gone
        }))
    }
}

/// The key of the oldest note by somebody who is trusted less; `heads` come oldest first.
fn least_trusted(heads: &[Head], trust: Trust) -> Option<&str> {
    let is_less =
        |word: &str| [Trust::Allowed, Trust::Unknown].iter().any(|less| less.as_str() == word && *less > trust);
    heads.iter().find(|(_, word, _)| is_less(word)).map(|(key, ..)| key.as_str())
}
