-- A Parquet table of some days, sorted by symbol: with it a query on one symbol reads a fraction (CTAS; AWS only).
-- Parameters: first_day, last_day
-- Its 50 files hold some symbols each. They lie with the query results, which expire after 7 days: to renew it run
-- DROP TABLE stock_ticks_parquet and this again; to keep it run this in a workgroup with a result location of yours.
CREATE TABLE stock_ticks_parquet
WITH (format = 'PARQUET', write_compression = 'ZSTD', bucketed_by = ARRAY['symbol'], bucket_count = 50)
AS
SELECT *
FROM stock_ticks
WHERE dt BETWEEN ? AND ?
ORDER BY symbol, "timestamp"
