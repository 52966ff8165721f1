-- events.db, schema 2: devices are told things.

-- What a device was told and whose outcome is not known yet. One that is still here at a start was cut off by the end before it.
CREATE TABLE operation (
  id      TEXT    PRIMARY KEY,
  at_ms   INTEGER NOT NULL,
  device  TEXT    NOT NULL,
  command TEXT    NOT NULL,
  who     TEXT    NOT NULL,
  origin  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- The last day for which a schedule told a device, and whether that is settled: done, refused, or overruled by a person.
CREATE TABLE firing (
  schedule TEXT    NOT NULL,
  device   TEXT    NOT NULL,
  command  TEXT    NOT NULL,
  day      TEXT    NOT NULL,  -- of the site's calendar
  settled  INTEGER NOT NULL CHECK (settled IN (0, 1)),
  PRIMARY KEY (schedule, device)
) STRICT, WITHOUT ROWID;
