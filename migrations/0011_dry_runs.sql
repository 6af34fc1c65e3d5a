-- A run whose answers are kept with it and never sent: an event was replayed to see what would come of it.
ALTER TABLE runs ADD COLUMN dry_run BOOLEAN NOT NULL DEFAULT FALSE;
