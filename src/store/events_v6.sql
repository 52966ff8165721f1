-- events.db, schema 6: one chain over everything that counts as evidence, signed now and then.

-- hash = SHA-256(hash of n - 1 ‖ SHA-256(record)), so that a row can be shown by its digest alone.
CREATE TABLE link (
  n      INTEGER PRIMARY KEY,
  seq    INTEGER NOT NULL,  -- how far the events went when it was written
  kind   TEXT    NOT NULL,  -- as the record says: base, event, audit, receipt, start, clock, head, capture
  record BLOB    NOT NULL,  -- JSON
  hash   BLOB    NOT NULL
) STRICT;

-- The chain's two ends, and its latest row of kind base: what lies before is told there.
ALTER TABLE meta ADD COLUMN link_base_n    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN link_base_hash BLOB    NOT NULL DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE meta ADD COLUMN link_n         INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN link_hash      BLOB    NOT NULL DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE meta ADD COLUMN link_told      INTEGER NOT NULL DEFAULT 0;

-- Where each stands in it; NULL: written before this schema, or no receipt.
ALTER TABLE audit  ADD COLUMN link INTEGER;
ALTER TABLE outbox ADD COLUMN link INTEGER;

-- What was in force, by its SHA-256: the site file with every default, and each profile.
CREATE TABLE writing (
  digest BLOB PRIMARY KEY,
  name   TEXT NOT NULL,
  body   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
