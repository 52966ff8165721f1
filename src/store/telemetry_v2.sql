-- telemetry.db, schema 2. What was read waits some minutes in `tail`, all devices together, and is then packed by device into `block`.
-- Rows of schema 1 stay where they are, and are read there, until age takes them.

-- One page a slot, written over in place: a commit of some seconds of readings writes one or two pages and no others.
CREATE TABLE tail (
  slot  INTEGER PRIMARY KEY,    -- from 1; begun again after each packing
  seq   INTEGER NOT NULL,       -- counts on for ever; what is not above packed.seq is in blocks
  bytes BLOB    NOT NULL        -- src/store/packed/tail.rs
) STRICT;
CREATE TABLE packed (seq INTEGER NOT NULL) STRICT;
INSERT INTO packed VALUES (0);

CREATE TABLE block (
  id      INTEGER PRIMARY KEY,  -- in the order of packing
  series  INTEGER NOT NULL,
  from_ms INTEGER NOT NULL,     -- its first and last row
  to_ms   INTEGER NOT NULL,
  rows    INTEGER NOT NULL,
  bytes   BLOB    NOT NULL      -- src/store/packed/block.rs
) STRICT;
CREATE INDEX block_at ON block (from_ms, series, to_ms);

-- What the good readings of an hour, or of a day of the site's calendar, came to. Each column holds, for the points that have it, one number
-- as `row.samples` is written; low, high and total only of numbers, the total of a flag is how many were true.
CREATE TABLE hour (
  from_ms INTEGER NOT NULL,
  series  INTEGER NOT NULL,
  count   BLOB    NOT NULL,
  low     BLOB    NOT NULL,
  high    BLOB    NOT NULL,
  total   BLOB    NOT NULL,
  last    BLOB    NOT NULL,
  last_at BLOB    NOT NULL      -- milliseconds after from_ms
) STRICT;
CREATE UNIQUE INDEX hour_at ON hour (from_ms, series);
CREATE TABLE day (
  from_ms INTEGER NOT NULL,
  series  INTEGER NOT NULL,
  count   BLOB    NOT NULL,
  low     BLOB    NOT NULL,
  high    BLOB    NOT NULL,
  total   BLOB    NOT NULL,
  last    BLOB    NOT NULL,
  last_at BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX day_at ON day (from_ms, series);

-- How much this gateway wrote to its flash, by the site's days.
CREATE TABLE flash (
  day_ms INTEGER PRIMARY KEY,
  bytes  INTEGER NOT NULL
) STRICT;
