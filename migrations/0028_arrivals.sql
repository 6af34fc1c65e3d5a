-- schema: additive
-- The place of a job in its lane. The database counts, so that an event which came after another one was accepted gets
-- the higher number whichever process accepts it; the ids of two processes are only as exact as their clocks. SQLite has
-- one process, whose ids are in order. 0 comes first: what was there before, and what somebody asked to run again.
ALTER TABLE jobs ADD COLUMN arrival BIGINT NOT NULL DEFAULT 0;
-- @postgres
CREATE SEQUENCE arrivals;
ALTER TABLE jobs ALTER COLUMN arrival SET DEFAULT nextval('arrivals');
-- @both
DROP INDEX jobs_of_lane;
CREATE INDEX jobs_in_lane ON jobs (lane, arrival, id) WHERE lane IS NOT NULL;
