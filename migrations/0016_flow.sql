-- Of the runs that wait for a worker, those of higher priority are begun first.
ALTER TABLE runs ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;

-- The further events of runs that take several with them; the first one is the run's own. position counts from 1, in the
-- order in which they came. once_key as in runs.
CREATE TABLE run_events (
  run_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  trigger_id TEXT COLLATE "C" NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL,
  once_key TEXT COLLATE "C",
  PRIMARY KEY (run_id, position)
);
CREATE UNIQUE INDEX one_run_a_joined_event ON run_events (event_id, trigger_id);
CREATE UNIQUE INDEX one_run_a_joined_mail ON run_events (agent_id, once_key) WHERE once_key IS NOT NULL;

-- What a trigger counts: throttles, rate limits, runs that are open for further events. key is the kind, the trigger and
-- what the trigger keeps apart; the row is also the lock of that count. state is JSON; a row whose time is over means
-- nothing and is deleted. expires_at moves in hours, so that most updates leave its index alone.
CREATE TABLE flows (
  key TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  state TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX flows_expired ON flows (expires_at);
