-- Mails that stayed at their provider when their event came, and what became of fetching them. event_id is that
-- event and the id of the job; mail_event_id the event that the mail became. stored says where it is, fence
-- under which lease it was last ended, so that fetching again goes on from there.
CREATE TABLE fetches (
  event_id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  stored TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  tries BIGINT NOT NULL DEFAULT 0,
  last_detail TEXT,
  mail_event_id TEXT COLLATE "C",
  next_attempt_at BIGINT,
  fence BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  finished_at BIGINT,
  CONSTRAINT fetch_state CHECK (state IN ('pending', 'fetched', 'failed')),
  CONSTRAINT end_when_final CHECK ((state IN ('fetched', 'failed')) = (finished_at IS NOT NULL)),
  CONSTRAINT mail_when_fetched CHECK (state <> 'fetched' OR mail_event_id IS NOT NULL),
  CONSTRAINT reason_when_failed CHECK (state <> 'failed' OR last_detail IS NOT NULL)
);
