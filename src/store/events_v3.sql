-- events.db, schema 3: what was given up is told.

-- Written in the transaction that gives something up; gone in the one that stores the loss_report about it.
CREATE TABLE loss (
  number    INTEGER PRIMARY KEY,
  endpoint  TEXT    NOT NULL,  -- who should have had it; '': whoever is told of such things at all
  class     TEXT    NOT NULL,  -- alarms, readings
  reason    TEXT    NOT NULL,
  subject   TEXT    NOT NULL,  -- device/alarm, if it was all of one alarm; else ''
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  count     INTEGER NOT NULL
) STRICT;
