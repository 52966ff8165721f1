-- telemetry.db, schema 1. Times are milliseconds since 1970 UTC.

-- One device with the points it had: another profile, another series.
CREATE TABLE series (
  id     INTEGER PRIMARY KEY,
  device TEXT    NOT NULL,
  points TEXT    NOT NULL,      -- JSON: [["name", "unit"], …], in the profile's order
  codec  INTEGER NOT NULL,      -- how `row.samples` is written
  UNIQUE (device, points, codec)
) STRICT;

-- What was read together, in the order it was stored. Rows are only ever appended; a key that led with the point would
-- touch a page for every point and write some fifty times the bytes.
CREATE TABLE row (
  seq     INTEGER PRIMARY KEY,
  at_ms   INTEGER NOT NULL,
  series  INTEGER NOT NULL,
  samples BLOB    NOT NULL
) STRICT;
CREATE INDEX row_at ON row (at_ms, series);
