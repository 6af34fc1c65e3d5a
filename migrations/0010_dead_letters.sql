-- The dead-letter lists: what failed is a small part of what was done, and is looked for among all of it.
CREATE INDEX runs_failed ON runs (tenant_id, id) WHERE state = 'failed';
CREATE INDEX deliveries_failed ON deliveries (tenant_id, id) WHERE state = 'failed';
