-- schema: additive
-- Questions that runs wait on. key is what the same question of one run has in common: asked again after a crash it is
-- found, with its answer. theirs and ours are the two ends of a text message as they are compared; asked is what people
-- see. delivery_id carries the question; event_id is the event that was the answer.
CREATE TABLE approvals (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  session_id TEXT COLLATE "C",
  agent_name TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  question TEXT NOT NULL,
  options TEXT NOT NULL,
  channel TEXT NOT NULL,
  asked TEXT NOT NULL,
  theirs TEXT COLLATE "C" NOT NULL,
  ours TEXT COLLATE "C" NOT NULL,
  delivery_id TEXT COLLATE "C" NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',
  answer TEXT,
  denied BOOLEAN NOT NULL DEFAULT FALSE,
  answered_by TEXT,
  answered_way TEXT,
  event_id TEXT COLLATE "C",
  asked_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at BIGINT,
  CONSTRAINT approval_kind CHECK (kind IN ('question', 'permission')),
  CONSTRAINT approval_state CHECK (state IN ('waiting', 'answered', 'expired', 'canceled')),
  CONSTRAINT approval_channel CHECK (channel IN ('email', 'sms', 'webhook')),
  CONSTRAINT answered_with_an_answer CHECK ((state = 'answered') = (answer IS NOT NULL)),
  CONSTRAINT answered_by_some_way CHECK ((answer IS NULL) = (answered_way IS NULL)),
  CONSTRAINT ended_unless_waiting CHECK ((state = 'waiting') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX one_approval_a_question ON approvals (run_id, key) WHERE state IN ('waiting', 'answered');
CREATE INDEX approvals_of_tenant ON approvals (tenant_id, id);
CREATE INDEX approvals_of_run ON approvals (run_id);
CREATE INDEX approvals_by_delivery ON approvals (delivery_id);
CREATE INDEX approvals_by_number ON approvals (tenant_id, theirs) WHERE channel = 'sms';
CREATE INDEX approvals_by_event ON approvals (event_id) WHERE event_id IS NOT NULL;

-- Calls of tools that must happen once, whatever crashes: number tells calls with the same content from each other, fence
-- is the claim of the run under which the call came last, call_id is its name in the conversation. A later claim that
-- calls the same takes the numbers over, in their order. made is what the call made.
CREATE TABLE tool_calls (
  run_id TEXT COLLATE "C" NOT NULL,
  tool TEXT COLLATE "C" NOT NULL,
  content TEXT COLLATE "C" NOT NULL,
  number BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  fence BIGINT NOT NULL,
  call_id TEXT COLLATE "C",
  made TEXT COLLATE "C",
  at BIGINT NOT NULL,
  PRIMARY KEY (run_id, tool, content, number)
);

-- Runs that agents want later. lane is the session, or the run that stands alone: what their number is limited by. note is
-- the content of the event to come.
CREATE TABLE followups (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  call TEXT COLLATE "C" NOT NULL,
  lane TEXT COLLATE "C" NOT NULL,
  session_key TEXT COLLATE "C",
  agent_id TEXT COLLATE "C" NOT NULL,
  agent_name TEXT NOT NULL,
  trigger_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  note TEXT NOT NULL,
  due_at BIGINT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',
  reason TEXT,
  event_id TEXT COLLATE "C",
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  CONSTRAINT followup_state CHECK (state IN ('waiting', 'started', 'canceled')),
  CONSTRAINT followup_ended_unless_waiting CHECK ((state = 'waiting') = (ended_at IS NULL)),
  CONSTRAINT started_with_its_event CHECK ((state = 'started') = (event_id IS NOT NULL)),
  CONSTRAINT one_followup_a_call UNIQUE (run_id, call)
);
CREATE INDEX followups_due ON followups (tenant_id, due_at) WHERE state = 'waiting';
CREATE INDEX followups_of_lane ON followups (lane) WHERE state = 'waiting';
CREATE INDEX followups_of_tenant ON followups (tenant_id, id);
