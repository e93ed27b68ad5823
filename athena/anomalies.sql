-- Days on which a price was far from the previous close: since when, how far at most, and for how many ticks.
-- Parameters: days=7, percent=5
WITH anomalies AS (
    SELECT
        *,
        CAST(exchange_time AS date) AS exchange_date,
        CASE WHEN change_percent > 0 THEN 'up' ELSE 'down' END AS direction
    FROM stock_ticks
    WHERE
        dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
        AND abs(change_percent) > ?
)

SELECT
    symbol,
    exchange_date,
    direction,
    min("timestamp") AS since,
    min(exchange_time) AS exchange_time,
    min_by(change_percent, "timestamp") AS first_percent,
    max_by(change_percent, abs(change_percent)) AS most_percent,
    count(*) AS ticks
FROM anomalies
GROUP BY symbol, exchange_date, direction
ORDER BY since, symbol
