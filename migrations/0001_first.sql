-- One set for both engines. Ids and JSON are TEXT, instants BIGINT (Unix milliseconds), money BIGINT
-- (millionths of a dollar), bytes BYTEA (SQLite: BLOB, replaced when the migration is read).
-- JSON is text, not JSONB: JSONB refuses \u0000, which mail and agents contain.
-- Keys compare by bytes (COLLATE "C", left out for SQLite, which knows nothing else): lists go by id, and a
-- language's order would neither be that order nor cheap.
-- There are no foreign keys on tables that grow with events: the check would lock a hot parent row
-- in each insert. The store's transactions carry those references.

-- The unit of isolation. catalog_revision grows with every change of sources and agents.
CREATE TABLE tenants (
  id TEXT COLLATE "C" PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  catalog_revision BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL
);

-- API keys. The key itself is shown once and never stored: hash is its SHA-256.
CREATE TABLE api_keys (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  hash TEXT COLLATE "C" NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  revoked_at BIGINT
);

-- Inbound addresses. spec names secrets, it never holds them. Removed ones stay for their events.
CREATE TABLE sources (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  spec TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  removed_at BIGINT,
  CONSTRAINT one_source_a_name UNIQUE (tenant_id, name)
);

-- Refused requests, counted; nothing else is kept of them.
CREATE TABLE refusals (
  tenant_id TEXT COLLATE "C" NOT NULL,
  source TEXT NOT NULL,
  code TEXT NOT NULL,
  count BIGINT NOT NULL,
  last_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, source, code)
);

-- Agents over all their versions.
CREATE TABLE agents (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  max_concurrent BIGINT,
  created_at BIGINT NOT NULL,
  removed_at BIGINT,
  CONSTRAINT one_agent_a_name UNIQUE (tenant_id, name),
  CONSTRAINT concurrency_is_positive CHECK (max_concurrent > 0)
);

-- What an agent was at one time, whole. Never changed.
CREATE TABLE agent_versions (
  agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
  version BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  hash TEXT COLLATE "C" NOT NULL,
  definition TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (agent_id, version)
);

-- What starts an agent: the triggers of its current version, by their place in its file.
CREATE TABLE triggers (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
  position BIGINT NOT NULL,
  spec TEXT NOT NULL,
  removed_at BIGINT,
  CONSTRAINT one_trigger_a_place UNIQUE (agent_id, position)
);

-- Verified requests to the byte.
CREATE TABLE raw_requests (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  method TEXT NOT NULL,
  url TEXT NOT NULL,
  headers TEXT NOT NULL,
  body BYTEA NOT NULL,
  received_at BIGINT NOT NULL
);

-- Normalised inbound records, written once. With body_in_request, content leaves out a webhook's JSON
-- body: it is the body of the raw request. routing says why each trigger did or did not match;
-- summary is what lists show (who, to whom, subject), short, so that a list never reads bodies.
CREATE TABLE events (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  source_id TEXT COLLATE "C" NOT NULL,
  source_name TEXT NOT NULL,
  request_id TEXT COLLATE "C" NOT NULL,
  dedupe_key TEXT COLLATE "C" NOT NULL,
  content_key TEXT COLLATE "C",
  kind TEXT NOT NULL,
  thread_key TEXT,
  sender TEXT,
  automatic TEXT,
  status TEXT NOT NULL,
  reason TEXT,
  routing TEXT NOT NULL,
  summary TEXT NOT NULL,
  content TEXT NOT NULL,
  body_in_request BOOLEAN NOT NULL,
  received_at BIGINT NOT NULL,
  CONSTRAINT event_status CHECK (status IN ('accepted', 'ignored', 'rejected')),
  CONSTRAINT reason_unless_accepted CHECK (status = 'accepted' OR reason IS NOT NULL),
  CONSTRAINT one_event_a_delivery UNIQUE (source_id, dedupe_key)
);
CREATE UNIQUE INDEX one_event_a_content ON events (source_id, content_key) WHERE content_key IS NOT NULL;
CREATE INDEX events_of_tenant ON events (tenant_id, id);

-- Files that came with an event.
CREATE TABLE attachments (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  filename TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size BIGINT NOT NULL,
  sha256 TEXT NOT NULL,
  content_id TEXT COLLATE "C",
  bytes BYTEA NOT NULL
);
CREATE INDEX attachments_of_event ON attachments (event_id, position);

-- Conversations. A session's row is also the lock of its lane: whoever adds or ends a job of the
-- lane updates this row first.
CREATE TABLE sessions (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  resume_id TEXT,
  created_at BIGINT NOT NULL,
  last_event_at BIGINT NOT NULL,
  CONSTRAINT one_session_a_key UNIQUE (agent_id, key)
);

-- Pieces of work. lease is the fence of the job under which a worker holds the run. tries counts the
-- attempts since somebody last asked for a retry, attempt all of them.
CREATE TABLE runs (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  trigger_id TEXT COLLATE "C" NOT NULL,
  trigger_position BIGINT NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL,
  agent_name TEXT NOT NULL,
  agent_version BIGINT NOT NULL,
  session_id TEXT COLLATE "C",
  replay BOOLEAN NOT NULL DEFAULT FALSE,
  state TEXT NOT NULL DEFAULT 'queued',
  lease BIGINT,
  attempt BIGINT NOT NULL DEFAULT 0,
  tries BIGINT NOT NULL DEFAULT 0,
  messages BIGINT NOT NULL DEFAULT 0,
  result_text TEXT,
  result_json TEXT,
  failure_code TEXT,
  failure_message TEXT,
  turns BIGINT NOT NULL DEFAULT 0,
  input_tokens BIGINT NOT NULL DEFAULT 0,
  output_tokens BIGINT NOT NULL DEFAULT 0,
  cache_read_tokens BIGINT NOT NULL DEFAULT 0,
  cache_write_tokens BIGINT NOT NULL DEFAULT 0,
  cost_micros BIGINT NOT NULL DEFAULT 0,
  cancel_requested_at BIGINT,
  created_at BIGINT NOT NULL,
  started_at BIGINT,
  finished_at BIGINT,
  CONSTRAINT run_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled')),
  CONSTRAINT lease_while_running CHECK ((state = 'running') = (lease IS NOT NULL)),
  CONSTRAINT end_when_final CHECK ((state IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)),
  CONSTRAINT reason_when_failed CHECK (state <> 'failed' OR failure_code IS NOT NULL),
  CONSTRAINT result_when_succeeded CHECK (state <> 'succeeded' OR result_text IS NOT NULL)
);
CREATE UNIQUE INDEX one_run_a_trigger ON runs (event_id, trigger_id) WHERE NOT replay;
CREATE INDEX runs_of_tenant ON runs (tenant_id, id);

-- A run's record, line by line.
CREATE TABLE run_messages (
  run_id TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  attempt BIGINT NOT NULL,
  kind TEXT NOT NULL,
  at BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
);

-- Messages owed. The id is the receiver's idempotency key.
CREATE TABLE deliveries (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  message TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  lease BIGINT,
  attempt BIGINT NOT NULL DEFAULT 0,
  tries BIGINT NOT NULL DEFAULT 0,
  last_detail TEXT,
  provider_id TEXT,
  captured BOOLEAN NOT NULL DEFAULT FALSE,
  next_attempt_at BIGINT,
  created_at BIGINT NOT NULL,
  finished_at BIGINT,
  CONSTRAINT delivery_state CHECK (state IN ('pending', 'sending', 'delivered', 'failed', 'canceled')),
  CONSTRAINT lease_while_sending CHECK ((state = 'sending') = (lease IS NOT NULL)),
  CONSTRAINT end_when_final CHECK ((state IN ('delivered', 'failed', 'canceled')) = (finished_at IS NOT NULL))
);
CREATE INDEX deliveries_of_tenant ON deliveries (tenant_id, id);
CREATE INDEX deliveries_of_run ON deliveries (run_id);

-- Tries to send a delivery.
CREATE TABLE delivery_attempts (
  delivery_id TEXT COLLATE "C" NOT NULL,
  number BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  outcome TEXT NOT NULL,
  detail TEXT NOT NULL,
  at BIGINT NOT NULL,
  took_ms BIGINT NOT NULL,
  PRIMARY KEY (delivery_id, number),
  CONSTRAINT attempt_outcome CHECK (outcome IN ('delivered', 'later', 'refused'))
);

-- The queue: only work that is not finished, so the table stays small. id is the run's or the
-- delivery's; the row says when and by whom, never what.
--   ready    due at run_at, anyone may claim it
--   blocked  waits for the job before it in its lane
--   running  belongs to lease_owner until lease_until; fence grows with each claim
-- lost counts the leases that ran out.
CREATE TABLE jobs (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  queue TEXT COLLATE "C" NOT NULL,
  lane TEXT COLLATE "C",
  agent_id TEXT COLLATE "C",
  priority BIGINT NOT NULL DEFAULT 0,
  state TEXT NOT NULL,
  run_at BIGINT NOT NULL,
  lost BIGINT NOT NULL DEFAULT 0,
  fence BIGINT NOT NULL DEFAULT 0,
  lease_owner TEXT,
  lease_until BIGINT,
  CONSTRAINT job_state CHECK (state IN ('ready', 'blocked', 'running')),
  CONSTRAINT lease_while_running CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CONSTRAINT only_lanes_block CHECK (state <> 'blocked' OR lane IS NOT NULL)
);
CREATE INDEX jobs_to_claim ON jobs (queue, priority DESC, run_at, id) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (queue, lease_until) WHERE state = 'running';
CREATE INDEX jobs_of_lane ON jobs (lane, id) WHERE lane IS NOT NULL;
CREATE UNIQUE INDEX one_active_job_a_lane ON jobs (lane) WHERE lane IS NOT NULL AND state <> 'blocked';
