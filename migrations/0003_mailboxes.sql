-- Folders of mailboxes that are read, one row each. Whoever holds the lease reads the folder; every write of a
-- reader names its fence. Below next_uid, within uid_validity, all mail was taken or passed over: it grows only after
-- the event of the mail was committed. Of mail below filter_below, which was there when the numbers changed, only what
-- arrived at or after taken_since is looked at. Unknown numbers (NULL) mean that the folder was never opened.
CREATE TABLE mailbox_folders (
  source_id TEXT COLLATE "C" NOT NULL,
  folder TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  uid_validity BIGINT,
  next_uid BIGINT,
  filter_below BIGINT NOT NULL DEFAULT 0,
  taken_since BIGINT NOT NULL DEFAULT 0,
  caught_up_at BIGINT,
  lease_owner TEXT,
  lease_until BIGINT,
  fence BIGINT NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'waiting',
  seen_at BIGINT,
  fault TEXT,
  fault_at BIGINT,
  PRIMARY KEY (source_id, folder),
  CONSTRAINT folder_state CHECK (state IN ('waiting', 'connected')),
  CONSTRAINT numbers_come_together CHECK ((uid_validity IS NULL) = (next_uid IS NULL)),
  CONSTRAINT folder_lease_is_whole CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
);
CREATE INDEX folders_of_tenant ON mailbox_folders (tenant_id);
