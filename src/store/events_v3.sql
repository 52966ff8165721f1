-- events.db, schema 3: why each letter waits, in both languages, and what it is sent as.

ALTER TABLE outbox ADD COLUMN hindrance TEXT;      -- the kind of trouble; last_error has it in English
ALTER TABLE outbox ADD COLUMN last_error_zh TEXT;
ALTER TABLE outbox ADD COLUMN tried_at_ms INTEGER; -- when it was sent last, whatever came of it
ALTER TABLE outbox ADD COLUMN content_type TEXT;   -- NULL: the CloudEvents object
CREATE INDEX outbox_set_aside ON outbox (endpoint, row) WHERE state = 'set_aside';
