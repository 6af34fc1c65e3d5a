-- What is removed after its time is found by its age, which its id begins with; these find the rest of it.
CREATE INDEX runs_replayed ON runs (event_id) WHERE replay;
CREATE INDEX message_ids_of_event ON message_ids (event_id);
CREATE INDEX attachments_with_bytes ON attachments (id) WHERE refused IS NULL;
