-- events.db, schema 7: points that were given, and the books of the devices that take in what people bring.

-- Written with the event that tells of it. The event may retire when room is needed; this stays, so that nothing is credited twice.
CREATE TABLE credit (
  row    INTEGER PRIMARY KEY,
  id     BLOB    NOT NULL UNIQUE, -- of the event: by site, device and transaction
  device TEXT    NOT NULL,
  at_ms  INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  record TEXT    NOT NULL         -- JSON; what is of a person is sealed
) STRICT;
CREATE INDEX credit_day ON credit (device, at_ms);

CREATE TABLE account (
  device TEXT PRIMARY KEY,
  memory TEXT NOT NULL            -- JSON
) STRICT, WITHOUT ROWID;
