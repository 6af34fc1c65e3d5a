-- What else is known of a file: the type its bytes show, the file it was taken out of, why it was not kept.
ALTER TABLE attachments ADD COLUMN sniffed_type TEXT;
ALTER TABLE attachments ADD COLUMN within TEXT;
ALTER TABLE attachments ADD COLUMN refused TEXT;
