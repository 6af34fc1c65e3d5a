//! A migration of a version that is still to come, for tests of upgrades; see `sabotage`.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType},
};

use crate::{
    sabotage::{Defect, is},
    store::SCHEMA_VERSION,
};

/// What a next version may well do: columns with defaults in the tables that are written most, an index, a table.
const ADDITIVE: &str = "-- schema: additive
ALTER TABLE events ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';
ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';
ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';
ALTER TABLE sessions ADD COLUMN colour TEXT;
ALTER TABLE deliveries ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';
CREATE INDEX runs_of_colour ON runs (colour, id);
CREATE TABLE colours (name TEXT PRIMARY KEY);
";

const BREAKING: &str = "-- schema: breaking
ALTER TABLE events ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';
";

/// The migration that this program pretends to know beyond its own.
pub(super) fn migration() -> Option<Migration> {
    let sql = match () {
        () if is(Defect::NewerAdditive) => ADDITIVE,
        () if is(Defect::NewerBreaking) => BREAKING,
        () => return None,
    };
    let sql = SqlSafeStr::into_sql_str(sql);
    Some(Migration::new(SCHEMA_VERSION + 1, Cow::Borrowed("pretended"), MigrationType::Simple, sql, false))
}
