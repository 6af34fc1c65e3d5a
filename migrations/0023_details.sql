-- schema: additive
-- What is known of a run beside its end, summed over its attempts: its model, what each model took, how long it worked.
-- JSON; empty until its first attempt ended.
ALTER TABLE runs ADD COLUMN details TEXT;
