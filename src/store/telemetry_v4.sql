-- telemetry.db, schema 4. A block that is damaged is known, and what is lost of readings is told.

ALTER TABLE block ADD COLUMN sum INTEGER;  -- CRC-32 of `bytes`; NULL: packed before this schema

-- So much is known of a block whose own page is damaged.
DROP INDEX block_at;
CREATE INDEX block_at ON block (from_ms, series, to_ms, rows);

-- Written in the transaction that gives rows up; gone once a loss_report tells of them.
CREATE TABLE lost (
  number  INTEGER PRIMARY KEY,
  device  TEXT    NOT NULL,  -- '': nobody knows
  from_ms INTEGER,           -- NULL: nobody knows
  to_ms   INTEGER,
  rows    INTEGER NOT NULL,
  exact   INTEGER NOT NULL CHECK (exact IN (0, 1))  -- 0: so many at least
) STRICT;

-- How far what can be read of a damaged file (telemetry.db.rescued) has come into this one: its pages. No row: nothing has yet.
CREATE TABLE rescue (
  only  INTEGER PRIMARY KEY CHECK (only = 1),
  pages INTEGER NOT NULL
) STRICT;
