-- telemetry.db, schema 3: nothing moves. What is packed from now on may have kinds of cells (floats kept as their decimals) that a gateway
-- of schema 2 cannot read; what that packed is read as it is.
UPDATE packed SET seq = seq;
