-- Work that is done by one process of all at a time: schedules, retention. Whoever holds the lease does it; fence grows
-- with each claim, and every write of its end names it. There is no leader: each task is claimed on its own, and a lease
-- that is not renewed ends. next_at says when it is due again. error and failures tell of the last time, until it goes well.
CREATE TABLE tasks (
  name TEXT COLLATE "C" PRIMARY KEY,
  owner TEXT,
  lease_until BIGINT,
  fence BIGINT NOT NULL DEFAULT 0,
  next_at BIGINT NOT NULL,
  last_began_at BIGINT,
  last_ended_at BIGINT,
  last_done TEXT,
  error TEXT,
  failures BIGINT NOT NULL DEFAULT 0,
  CONSTRAINT task_lease_is_whole CHECK ((owner IS NULL) = (lease_until IS NULL)),
  CONSTRAINT error_when_failing CHECK ((error IS NULL) = (failures = 0))
);

-- Schedules of triggers. spec is as it stands in the agent's file; planned_at is the first time that was not worked yet,
-- NULL when none is left. It only moves forward, after the event of the time before was committed, so that each time
-- makes one event whoever works it. missed counts the times that catch_up passed over.
CREATE TABLE schedules (
  trigger_id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  agent_id TEXT COLLATE "C" NOT NULL,
  agent_name TEXT NOT NULL,
  name TEXT NOT NULL,
  spec TEXT NOT NULL,
  planned_at BIGINT,
  paused_at BIGINT,
  last_planned_at BIGINT,
  last_event_id TEXT COLLATE "C",
  last_at BIGINT,
  missed BIGINT NOT NULL DEFAULT 0,
  fault TEXT,
  created_at BIGINT NOT NULL
);
CREATE INDEX schedules_of_tenant ON schedules (tenant_id, name);
