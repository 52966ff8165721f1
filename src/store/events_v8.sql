-- events.db, schema 8: the chain may be hashed with SM3 and signed with SM2.

-- What the next row is hashed with; NULL: SHA-256. What is hashed with another names it as `alg`.
ALTER TABLE meta ADD COLUMN alg TEXT;
