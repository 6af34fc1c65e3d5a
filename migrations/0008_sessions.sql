-- A run may end as merged: the agent at work on another run of its session has its event. merged_into is that run;
-- cancel_reason says which event interrupted a run; failures counts by class of failure, as JSON, since somebody last
-- asked for a retry; next_attempt_at is when a run that failed or waits for its model is tried again.
-- manner is what becomes of a waiting run of a session besides waiting: its event is offered to the run at work (steer), or
-- that is stopped (interrupt).
ALTER TABLE runs ADD COLUMN manner TEXT COLLATE "C" CONSTRAINT run_manner CHECK (manner IN ('steer', 'interrupt'));
ALTER TABLE runs ADD COLUMN cancel_reason TEXT;
ALTER TABLE runs ADD COLUMN failures TEXT;
ALTER TABLE runs ADD COLUMN next_attempt_at BIGINT;
ALTER TABLE runs ADD COLUMN merged_into TEXT COLLATE "C"
  CONSTRAINT into_when_merged CHECK ((state = 'merged') = (merged_into IS NOT NULL));
CREATE INDEX runs_merged ON runs (merged_into, id) WHERE merged_into IS NOT NULL;
-- @postgres
ALTER TABLE runs DROP CONSTRAINT run_state, DROP CONSTRAINT end_when_final;
-- Not validated: what is there kept the narrower rule.
ALTER TABLE runs ADD CONSTRAINT run_state
  CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'merged')) NOT VALID;
ALTER TABLE runs ADD CONSTRAINT end_when_final
  CHECK ((state IN ('succeeded', 'failed', 'canceled', 'merged')) = (finished_at IS NOT NULL)) NOT VALID;
-- @sqlite
-- SQLite cannot exchange a CHECK: its text is changed in the schema (sqlite.org/lang_altertable.html, section 7).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''failed'', ''canceled'')', '''failed'', ''canceled'', ''merged'')')
  WHERE type = 'table' AND name = 'runs';
PRAGMA writable_schema = RESET;
-- @both

-- A session that is closed or expired stays for its runs; its key is free for a new one. place names the worker whose
-- disk has its files.
-- @postgres
ALTER TABLE sessions DROP CONSTRAINT one_session_a_key;
ALTER TABLE sessions ADD COLUMN closed_at BIGINT, ADD COLUMN closed_reason TEXT, ADD COLUMN place TEXT,
  ADD COLUMN forked_from TEXT COLLATE "C";
ALTER TABLE sessions ADD CONSTRAINT reason_when_closed CHECK ((closed_at IS NULL) = (closed_reason IS NULL)),
  ADD CONSTRAINT session_closed_reason CHECK (closed_reason IN ('closed', 'expired'));
-- @sqlite
CREATE TABLE sessions_new (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  resume_id TEXT,
  created_at BIGINT NOT NULL,
  last_event_at BIGINT NOT NULL,
  reply_token TEXT COLLATE "C",
  closed_at BIGINT,
  closed_reason TEXT,
  place TEXT,
  forked_from TEXT COLLATE "C",
  CONSTRAINT reason_when_closed CHECK ((closed_at IS NULL) = (closed_reason IS NULL)),
  CONSTRAINT session_closed_reason CHECK (closed_reason IN ('closed', 'expired'))
);
INSERT INTO sessions_new (id, tenant_id, agent_id, key, resume_id, created_at, last_event_at, reply_token)
  SELECT id, tenant_id, agent_id, key, resume_id, created_at, last_event_at, reply_token FROM sessions;
DROP TABLE sessions;
ALTER TABLE sessions_new RENAME TO sessions;
CREATE UNIQUE INDEX one_session_a_token ON sessions (reply_token) WHERE reply_token IS NOT NULL;
-- @both
CREATE UNIQUE INDEX one_session_a_key ON sessions (agent_id, key) WHERE closed_at IS NULL;
CREATE INDEX sessions_closed ON sessions (agent_id, key) WHERE closed_at IS NOT NULL;
CREATE INDEX runs_of_session ON runs (session_id, id) WHERE session_id IS NOT NULL;

-- Models and agents whose quota is used up until then: their runs wait, and burn no attempt.
CREATE TABLE pauses (
  tenant_id TEXT COLLATE "C" NOT NULL,
  credential TEXT COLLATE "C" NOT NULL,
  until BIGINT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (tenant_id, credential)
);
