-- schema: additive
-- What a run had taken when somebody last asked for a retry: what it may take, it may take since then.
ALTER TABLE runs ADD COLUMN turns_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN cost_before BIGINT NOT NULL DEFAULT 0;
