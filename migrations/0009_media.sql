-- Files of text messages that stayed at their provider, while they are fetched and what became of them: one row a file,
-- beside the row of its event in fetches. tries counts how often it was asked for. bytes are there from the time that
-- the file was fetched until the message has become the event that carries it.
CREATE TABLE fetch_files (
  event_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  tries BIGINT NOT NULL DEFAULT 0,
  detail TEXT,
  filename TEXT,
  content_type TEXT NOT NULL,
  size BIGINT,
  bytes BYTEA,
  PRIMARY KEY (event_id, position),
  CONSTRAINT file_state CHECK (state IN ('pending', 'fetched', 'failed')),
  CONSTRAINT name_when_fetched CHECK ((state = 'fetched') = (filename IS NOT NULL AND size IS NOT NULL)),
  CONSTRAINT reason_when_failed CHECK (state <> 'failed' OR detail IS NOT NULL)
);

-- Reports of providers name a delivery by the provider's own id.
CREATE INDEX deliveries_of_provider ON deliveries (tenant_id, provider_id) WHERE provider_id IS NOT NULL;
