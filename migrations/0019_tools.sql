-- schema: additive
-- What agents said by the tool `reply` while they were at work. once_key is a hash of the words and files, since a run says
-- the same once, whichever of its attempts; or `answer`, whose body (JSON) is what the run is to end with. delivery_id is
-- the delivery that was made, or that the answer will be.
CREATE TABLE run_replies (
  run_id TEXT COLLATE "C" NOT NULL,
  once_key TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  body TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (run_id, once_key)
);

-- The bytes of the files that go with a delivery, in the order in which its message names them. The delivery may be one
-- that is still to be made when its run ends.
CREATE TABLE delivery_files (
  delivery_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  bytes BYTEA NOT NULL,
  PRIMARY KEY (delivery_id, position)
);
CREATE INDEX delivery_files_of_run ON delivery_files (run_id);

-- What agents keep for later runs. owner is a session or an agent. run_id wrote it last, for a sender who was trusted so far.
CREATE TABLE notes (
  owner TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  value TEXT NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  trust TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (owner, key),
  CONSTRAINT trust_is_known CHECK (trust IN ('verified', 'allowed', 'unknown'))
);
