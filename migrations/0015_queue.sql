-- The queue with groups: limits of concurrency, fair turns, and priorities that age.
--
-- jobs is made anew, since SQLite cannot change a table's checks. Its states now:
--   ready    anyone may claim it: its time has come and it holds a place in each of its groups
--   waiting  for its time, run_at; looked at then
--   gated    for a place in the group gate, one of its groups that was full when it was looked at
--   blocked  for the job before it in its lane
--   running  belongs to lease_owner until lease_until; fence grows with each claim
-- rank orders what is ready: a point of priority is 30 seconds of waiting. flow is that of the job's groups whose
-- jobs take turns with those of the tenant's other groups; it is empty for jobs without groups.
CREATE TABLE jobs_anew (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  queue TEXT COLLATE "C" NOT NULL,
  lane TEXT COLLATE "C",
  agent_id TEXT COLLATE "C",
  priority BIGINT NOT NULL DEFAULT 0,
  state TEXT NOT NULL,
  run_at BIGINT NOT NULL,
  rank BIGINT GENERATED ALWAYS AS (run_at - priority * 30000) STORED,
  flow TEXT COLLATE "C" NOT NULL DEFAULT '',
  grouped BOOLEAN NOT NULL DEFAULT FALSE,
  gate TEXT COLLATE "C",
  lost BIGINT NOT NULL DEFAULT 0,
  fence BIGINT NOT NULL DEFAULT 0,
  lease_owner TEXT,
  lease_until BIGINT,
  CONSTRAINT job_state CHECK (state IN ('ready', 'waiting', 'gated', 'blocked', 'running')),
  CONSTRAINT lease_while_running CHECK ((state = 'running') = (lease_until IS NOT NULL)),
  CONSTRAINT gate_while_gated CHECK ((state = 'gated') = (gate IS NOT NULL)),
  CONSTRAINT only_lanes_block CHECK (state <> 'blocked' OR lane IS NOT NULL)
);
INSERT INTO jobs_anew (id, tenant_id, queue, lane, agent_id, priority, state, run_at, lost, fence, lease_owner, lease_until)
  SELECT id, tenant_id, queue, lane, agent_id, priority, state, run_at, lost, fence, lease_owner, lease_until FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_anew RENAME TO jobs;
CREATE INDEX jobs_to_claim ON jobs (queue, tenant_id, flow, rank, id) WHERE state = 'ready';
CREATE INDEX jobs_waiting ON jobs (queue, run_at) WHERE state = 'waiting';
CREATE INDEX jobs_gated ON jobs (gate, flow, rank, id) WHERE state = 'gated';
-- Without lease_until: renewing a lease then changes no index.
CREATE INDEX jobs_running ON jobs (queue, id) WHERE state = 'running';
CREATE INDEX jobs_of_lane ON jobs (lane, id) WHERE lane IS NOT NULL;
CREATE UNIQUE INDEX one_active_job_a_lane ON jobs (lane) WHERE lane IS NOT NULL AND state <> 'blocked';
-- @postgres
-- Rows change often and live shortly: room for their next versions, and vacuum before much is dead.
ALTER TABLE jobs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE runs SET (fillfactor = 80);
-- @both

-- Groups whose jobs share a limit. last_flow is whose turn it was last at the group's gate.
CREATE TABLE concurrency_groups (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  label TEXT NOT NULL,
  places BIGINT NOT NULL,
  last_flow TEXT COLLATE "C" NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  CONSTRAINT a_group_has_places CHECK (places > 0)
);

-- The groups of each job, from the narrowest (position 0). held: the job has a place, which a ready or running one has
-- in all its groups; others have none.
CREATE TABLE job_groups (
  job_id TEXT COLLATE "C" NOT NULL,
  group_id TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  strategy TEXT NOT NULL,
  held BOOLEAN NOT NULL DEFAULT FALSE,
  PRIMARY KEY (job_id, group_id),
  CONSTRAINT group_strategy CHECK (strategy IN ('queue', 'cancel_running', 'drop_newest'))
);
CREATE INDEX places_taken ON job_groups (group_id, job_id) WHERE held;
CREATE INDEX places_wanted ON job_groups (group_id, job_id) WHERE NOT held;

-- Groups at whose gate something has changed: a job came, or a place is free. job_id is whoever did it, so that two
-- never write the same row.
CREATE TABLE group_looks (
  group_id TEXT COLLATE "C" NOT NULL,
  job_id TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (group_id, job_id)
);

-- The groups of a run as JSON, for when it is queued again.
ALTER TABLE runs ADD COLUMN concurrency TEXT;
-- The agent's own groups, as JSON.
ALTER TABLE agents ADD COLUMN concurrency TEXT;

-- What waited under the limits that agents had alone until now.
INSERT INTO concurrency_groups (id, tenant_id, label, places, created_at)
  SELECT 'agent:' || id, tenant_id, 'agent ' || name, max_concurrent, created_at FROM agents WHERE max_concurrent IS NOT NULL;
INSERT INTO job_groups (job_id, group_id, tenant_id, position, strategy, held)
  SELECT j.id, 'agent:' || a.id, j.tenant_id, 0, 'queue', j.state = 'running'
  FROM jobs j JOIN agents a ON a.id = j.agent_id AND a.max_concurrent IS NOT NULL WHERE j.queue = 'run';
UPDATE jobs SET grouped = TRUE, flow = 'agent:' || agent_id, state = CASE state WHEN 'ready' THEN 'waiting' ELSE state END
  WHERE id IN (SELECT job_id FROM job_groups);
