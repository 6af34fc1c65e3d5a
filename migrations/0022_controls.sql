-- schema: additive
-- What somebody changed of runs at work, in the order of seq: control is JSON, {"set_model": "…"} or
-- {"set_permission_mode": "…"}. done holds for the run's further attempts, too; the last of a kind counts.
CREATE TABLE run_controls (
  run_id TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  control TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',
  detail TEXT,
  asked_at BIGINT NOT NULL,
  done_at BIGINT,
  PRIMARY KEY (run_id, seq),
  CONSTRAINT control_states CHECK (state IN ('waiting', 'done', 'refused')),
  CONSTRAINT done_at_an_end CHECK ((state = 'waiting') = (done_at IS NULL))
);
CREATE INDEX waiting_controls ON run_controls (run_id) WHERE state = 'waiting';
