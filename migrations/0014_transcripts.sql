-- Conversations of agents, so that any machine can go on with them: lines of what the agent's program wrote down, in
-- pieces in the order of seq. owner is the session, or the run that stands alone. total counts bytes up to this piece,
-- last_entry is the id of the last entry up to it. A conversation that became too long is one row that is cut.
CREATE TABLE transcripts (
  owner TEXT COLLATE "C" NOT NULL,
  conversation TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  lines TEXT NOT NULL,
  last_entry TEXT,
  total BIGINT NOT NULL,
  cut BOOLEAN NOT NULL DEFAULT FALSE,
  at BIGINT NOT NULL,
  PRIMARY KEY (owner, conversation, seq),
  CONSTRAINT nothing_left_when_cut CHECK (NOT cut OR lines = '')
);
