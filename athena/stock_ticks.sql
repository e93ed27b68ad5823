-- The view that all queries read: each tick once, even if its line was delivered several times, with typed times.
-- setup.sh creates it. Of several lines of one tick, the one fetched last counts. They are numbered within a day, so
-- that a condition on dt reaches the table and a query reads only the folders of its own days. exchange_time is in UTC
-- when a tick has no time zone, or one that Athena does not know: at_timezone fails on such a name, and so would every
-- query that meets this tick.
CREATE OR REPLACE VIEW stock_ticks AS
SELECT
    dt,
    symbol,
    CAST(at_timezone(from_iso8601_timestamp("timestamp"), 'UTC') AS timestamp(3)) AS "timestamp",
    CAST(coalesce(
        try(at_timezone(from_iso8601_timestamp("timestamp"), exchange_timezone)),
        at_timezone(from_iso8601_timestamp("timestamp"), 'UTC')
    ) AS timestamp(3)) AS exchange_time,
    open,
    high,
    low,
    price,
    previous_close,
    change,
    change_percent,
    volume,
    CAST(at_timezone(from_iso8601_timestamp(fetched_at), 'UTC') AS timestamp(3)) AS fetched_at,
    source,
    currency,
    exchange_timezone,
    market_state,
    delay_minutes,
    history,
    replayed_from
FROM (
    SELECT *, row_number() OVER (PARTITION BY dt, symbol, "timestamp" ORDER BY fetched_at DESC) AS copy
    FROM stock_data_table
) AS lines
WHERE copy = 1
