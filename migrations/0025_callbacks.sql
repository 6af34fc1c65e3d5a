-- schema: additive
-- Services that work on a run and report back. outside_work is one row for each such run, and the lock of its reports:
-- task is the service's own id, lines and bytes count what it reported, is_over that its last word came. A way back is a
-- token, of which only the hash is kept; an attempt that goes on with the work of one before leaves that one's way open.
CREATE TABLE outside_work (
  run_id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  task TEXT,
  lines BIGINT NOT NULL DEFAULT 0,
  bytes BIGINT NOT NULL DEFAULT 0,
  is_over BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE TABLE callbacks (
  token_hash TEXT COLLATE "C" PRIMARY KEY,
  run_id TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX callbacks_of_run ON callbacks (run_id);
CREATE TABLE reports (
  run_id TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,
  line TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (run_id, seq)
);
