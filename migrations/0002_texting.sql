-- What providers tell of messages after they took them. about is the provider's id of the message, or our
-- delivery's where the report carries it; reports are matched when they are read, since they may come before
-- the answer that brings the provider's id.
CREATE TABLE delivery_reports (
  event_id TEXT COLLATE "C" NOT NULL,
  about TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  status TEXT NOT NULL,
  code TEXT,
  detail TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (event_id, about),
  CONSTRAINT report_status CHECK (status IN ('waiting', 'sent', 'delivered', 'read', 'undelivered', 'failed', 'complained'))
);
CREATE INDEX reports_of_message ON delivery_reports (tenant_id, about);

-- Who takes no text messages from which of our numbers; both as they are compared, not as they are written.
CREATE TABLE opt_outs (
  tenant_id TEXT COLLATE "C" NOT NULL,
  ours TEXT COLLATE "C" NOT NULL,
  theirs TEXT COLLATE "C" NOT NULL,
  event_id TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, ours, theirs)
);

-- Parts of long text messages that wait for the others. event_id is the event that the part made; message_id
-- the provider's id of the part. Rows go when the whole message has become an event.
CREATE TABLE message_parts (
  event_id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  source_id TEXT COLLATE "C" NOT NULL,
  kind TEXT NOT NULL,
  sender TEXT NOT NULL,
  recipient TEXT NOT NULL,
  reference TEXT NOT NULL,
  number BIGINT NOT NULL,
  total BIGINT NOT NULL,
  message_id TEXT NOT NULL,
  text TEXT NOT NULL,
  at BIGINT NOT NULL,
  CONSTRAINT number_within_total CHECK (number >= 1 AND number <= total AND total <= 255)
);
CREATE INDEX parts_of_tenant ON message_parts (tenant_id, at);
