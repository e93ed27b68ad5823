-- A Parquet table of some days, sorted by symbol: a query on one symbol then reads far less (CTAS; AWS only).
-- Parameters: first_day, last_day
-- Each of its 50 files holds some of the symbols. The files are kept with the query results, which expire after 7
-- days. To make the table again, run DROP TABLE stock_ticks_parquet and then this query. To keep it, run this query
-- in a workgroup that has a result location of your own.
CREATE TABLE stock_ticks_parquet
WITH (format = 'PARQUET', write_compression = 'ZSTD', bucketed_by = ARRAY['symbol'], bucket_count = 50)
AS
SELECT *
FROM stock_ticks
WHERE dt BETWEEN ? AND ?
ORDER BY symbol, "timestamp"
