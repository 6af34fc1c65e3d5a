-- schema: additive
-- Which programs may work on this schema: those that know min_reader, or a later one. Set by each breaking migration,
-- in its own transaction.
CREATE TABLE schema_support (
  one BIGINT PRIMARY KEY,
  min_reader BIGINT NOT NULL,
  CONSTRAINT one_row CHECK (one = 1)
);
INSERT INTO schema_support (one, min_reader) VALUES (1, 20);

-- The order in which suppressed addresses are listed.
CREATE INDEX suppressions_in_order ON suppressions (tenant_id, event_id, delivery_id);
