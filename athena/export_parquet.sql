-- A Parquet table of some days, in files by symbol: a query on one symbol then reads far less (CTAS; AWS only).
-- Parameters: first_day, last_day
-- Each of its 50 files holds all ticks of some symbols, so a condition on the symbol leaves one file to read. Within
-- a file the ticks are in no order: Athena ignores ORDER BY when it makes a table. The files are kept with the query
-- results, which expire after 7 days. To make the table again, run DROP TABLE stock_ticks_parquet and then this
-- query. To keep it, run this query in a workgroup that has a result location of your own.
CREATE TABLE stock_ticks_parquet
WITH (format = 'PARQUET', write_compression = 'ZSTD', bucketed_by = ARRAY['symbol'], bucket_count = 50)
AS
SELECT *
FROM stock_ticks
WHERE dt BETWEEN ? AND ?
