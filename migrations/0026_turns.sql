-- schema: additive
-- What waits, read without what ended; and the due jobs of one tenant, however many another one has.
CREATE INDEX approvals_waiting ON approvals (tenant_id, id) WHERE state = 'waiting';
CREATE INDEX followups_waiting ON followups (tenant_id, id) WHERE state = 'waiting';
CREATE INDEX jobs_waiting_of_tenant ON jobs (queue, tenant_id, run_at) WHERE state = 'waiting';

-- replied: whoever made the call was told what came of it. A claim after this one whose conversation holds that takes the
-- call over no more. A permission that was used is never taken over by another call.
ALTER TABLE tool_calls ADD COLUMN replied BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tool_calls ADD COLUMN used BOOLEAN NOT NULL DEFAULT FALSE;
