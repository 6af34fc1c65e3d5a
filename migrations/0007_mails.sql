-- What is known of each mail beside its event: by message_id a thread finds its earlier mails; thread_key, sender and
-- runs (how many it started) say how much is going on between us and somebody. size is the event's content in bytes.
CREATE TABLE mails (
  event_id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  message_id TEXT COLLATE "C",
  thread_key TEXT COLLATE "C",
  sender TEXT COLLATE "C",
  runs BIGINT NOT NULL,
  size BIGINT NOT NULL,
  received_at BIGINT NOT NULL
);
CREATE INDEX mails_of_message_id ON mails (tenant_id, message_id, event_id) WHERE message_id IS NOT NULL;
CREATE INDEX mails_of_thread ON mails (tenant_id, thread_key, received_at) WHERE runs > 0;
CREATE INDEX mails_of_sender ON mails (tenant_id, sender, received_at) WHERE runs > 0;

-- A hash of an answer's thread, recipient and words: the same answer twice in a thread is a loop.
ALTER TABLE deliveries ADD COLUMN echo TEXT;
CREATE INDEX deliveries_of_echo ON deliveries (tenant_id, echo, created_at) WHERE echo IS NOT NULL;

-- Addresses that mail is no longer sent to: a mail to them came back for good, or was called unwanted. address is in
-- lower case; delivery_id is the mail that came back, event_id the report that said so.
CREATE TABLE suppressions (
  tenant_id TEXT COLLATE "C" NOT NULL,
  address TEXT COLLATE "C" NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  reason TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, address)
);
