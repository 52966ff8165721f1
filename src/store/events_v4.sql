-- events.db, schema 4: why each letter waits, in both languages, and what it is sent as; readings are uploaded, and what is of
-- persons is sealed.

ALTER TABLE outbox ADD COLUMN hindrance TEXT;      -- the kind of trouble; last_error has it in English
ALTER TABLE outbox ADD COLUMN last_error_zh TEXT;
ALTER TABLE outbox ADD COLUMN tried_at_ms INTEGER; -- when it was sent last, whatever came of it
ALTER TABLE outbox ADD COLUMN content_type TEXT;   -- NULL: the CloudEvents object
CREATE INDEX outbox_set_aside ON outbox (endpoint, row) WHERE state = 'set_aside';

-- How far each endpoint has the readings, as it confirmed them. Milliseconds since 1970.
CREATE TABLE upload (
  endpoint TEXT    PRIMARY KEY,
  since_ms INTEGER NOT NULL,  -- all up to here
  until_ms INTEGER NOT NULL,  -- the end of the window under way
  device   TEXT    NOT NULL,  -- in it, all devices before this one
  at_ms    INTEGER NOT NULL,  -- and this one up to here
  number   INTEGER NOT NULL   -- of the last batch
) STRICT, WITHOUT ROWID;

-- Keys that seal values of persons, each under the key that lies outside of this file. One that is deleted takes with it all
-- that it sealed, wherever that is stored.
CREATE TABLE private_key (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  created_ms INTEGER,          -- NULL: the clock was not set
  wrapped    BLOB    NOT NULL
) STRICT;
