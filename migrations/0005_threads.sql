-- Message-IDs of mail, without brackets: of the mail that made an event (delivery_id empty), and of the answers to it, by
-- our own id and by the one that a provider gave them instead. A mail that answers finds its conversation by them.
CREATE TABLE message_ids (
  tenant_id TEXT COLLATE "C" NOT NULL,
  message_id TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL DEFAULT '',
  PRIMARY KEY (tenant_id, message_id, event_id, delivery_id)
);

-- What stands behind the + in the reply address of a session's answers; set by the first one.
ALTER TABLE sessions ADD COLUMN reply_token TEXT COLLATE "C";
CREATE UNIQUE INDEX one_session_a_token ON sessions (reply_token) WHERE reply_token IS NOT NULL;

-- Addresses that a trigger's reply named: they may go on in the session though the trigger's from does not name them.
CREATE TABLE session_guests (
  session_id TEXT COLLATE "C" NOT NULL,
  address TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (session_id, address)
);

-- The same mail may come for several addresses of ours, and by several sources: once_key is a hash of it and the run's
-- place among those that it starts of one agent.
ALTER TABLE runs ADD COLUMN once_key TEXT COLLATE "C";
CREATE UNIQUE INDEX one_run_a_mail ON runs (agent_id, once_key) WHERE once_key IS NOT NULL;

-- The key by which a tenant's reply addresses are made. Made once.
CREATE TABLE signing_keys (
  tenant_id TEXT COLLATE "C" PRIMARY KEY,
  key BYTEA NOT NULL
);
