-- What ended the exchange, such as 'answered' or 'engine_error'. NULL for interactions from before it was stored.
ALTER TABLE interactions ADD COLUMN cause VARCHAR;
