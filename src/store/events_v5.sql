-- events.db, schema 5: a letter that is damaged within a sound page is known.

ALTER TABLE body ADD COLUMN sum INTEGER;  -- CRC-32 of `body`; NULL: written before this schema
