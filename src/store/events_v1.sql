-- events.db, schema 1. Times are milliseconds since 1970 UTC; seq counts up by one within an epoch.

-- The chain's two ends. `base` is the last event that retention took away (0 and zeros: none yet).
CREATE TABLE meta (
  only       INTEGER PRIMARY KEY CHECK (only = 1),
  epoch      TEXT    NOT NULL,
  created_ms INTEGER NOT NULL,
  base_seq   INTEGER NOT NULL,
  base_hash  BLOB    NOT NULL,
  last_seq   INTEGER NOT NULL,
  last_hash  BLOB    NOT NULL
) STRICT;

CREATE TABLE event (
  seq        INTEGER PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  kind       TEXT    NOT NULL,
  device     TEXT    NOT NULL,
  alarm      TEXT    NOT NULL,
  occurrence TEXT    NOT NULL,
  at_ms      INTEGER NOT NULL,
  record     BLOB    NOT NULL, -- the event as JSON: what `hash` covers
  hash       BLOB    NOT NULL,
  prev_hash  BLOB    NOT NULL
) STRICT;
CREATE INDEX event_occurrence ON event (occurrence, seq);

-- The engine's memory. A normal alarm without a running delay has no row.
CREATE TABLE alarm (
  device     TEXT NOT NULL,
  alarm      TEXT NOT NULL,
  state      TEXT,             -- NULL: normal, a delay is running
  occurrence TEXT,
  memory     TEXT NOT NULL,    -- JSON
  PRIMARY KEY (device, alarm)
) STRICT, WITHOUT ROWID;

-- One event for one endpoint. `row` grows with time; within one alarm it is the order of delivery.
CREATE TABLE outbox (
  row             INTEGER PRIMARY KEY,
  endpoint        TEXT    NOT NULL,
  event_id        TEXT    NOT NULL,
  seq             INTEGER NOT NULL,
  device          TEXT    NOT NULL,
  alarm           TEXT    NOT NULL,
  priority        INTEGER NOT NULL,  -- 0 critical … 3 low
  state           TEXT    NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'delivered', 'set_aside')),
  attempts        INTEGER NOT NULL DEFAULT 0,
  last_error      TEXT,
  next_at_ms      INTEGER,           -- a label for people; the courier waits on monotonic time
  delivered_at_ms INTEGER,
  receipt_status  INTEGER,
  receipt_said    TEXT,
  UNIQUE (endpoint, seq)             -- no event twice; grows at its end, unlike one over random ids
) STRICT;
CREATE INDEX outbox_queued ON outbox (endpoint, device, alarm, row) WHERE state = 'queued';

-- What is sent. Gone only once it was delivered and the room was needed: rows of their own, because SQLite gives back the
-- page of a deleted row, but not the space of a shortened one.
CREATE TABLE body (
  row  INTEGER PRIMARY KEY REFERENCES outbox (row),
  body BLOB    NOT NULL
) STRICT;

CREATE TABLE audit (
  number  INTEGER PRIMARY KEY,
  at_ms   INTEGER NOT NULL,
  who     TEXT    NOT NULL,
  origin  TEXT    NOT NULL,
  action  TEXT    NOT NULL,
  object  TEXT    NOT NULL,
  outcome TEXT    NOT NULL
) STRICT;
