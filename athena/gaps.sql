-- Gaps in the data: times within a trading day when a symbol had no tick for longer than some minutes.
-- Parameters: days=7, minutes=5
WITH steps AS (
    SELECT
        symbol,
        "timestamp" AS until,
        exchange_time,
        lag("timestamp") OVER (
            PARTITION BY symbol, CAST(exchange_time AS date) ORDER BY "timestamp"
        ) AS since
    FROM stock_ticks
    WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
)

SELECT
    symbol,
    since,
    until,
    exchange_time AS until_exchange_time,
    round(date_diff('millisecond', since, until) / 60000.0, 1) AS minutes
FROM steps
WHERE date_diff('millisecond', since, until) > 60000 * ?
ORDER BY minutes DESC, symbol, since
