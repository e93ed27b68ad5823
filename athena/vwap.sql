-- The volume-weighted average price of a symbol for each day, next to the day's last price.
-- Parameters: symbol, days=7
-- A tick's volume is the exchange's day so far: a tick weighs as much as its increase over the tick before it. The
-- first tick of a day weighs nothing, because the prices of its volume are not known. A replayed tick weighs as much
-- as the volume of its bar.
WITH ticks AS (
    SELECT
        *,
        CAST(exchange_time AS date) AS exchange_date,
        CASE WHEN replayed_from IS NOT NULL THEN volume ELSE volume - lag(volume) IGNORE NULLS OVER (
            PARTITION BY symbol, CAST(exchange_time AS date) ORDER BY "timestamp"
        ) END AS traded
    FROM stock_ticks
    WHERE symbol = ? AND dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
),

days AS (
    SELECT
        symbol,
        exchange_date,
        sum(price * traded) FILTER (WHERE traded > 0) / sum(traded) FILTER (WHERE traded > 0) AS vwap,
        max_by(price, "timestamp") AS last_price,
        sum(traded) FILTER (WHERE traded > 0) AS volume,
        count(*) AS ticks
    FROM ticks
    GROUP BY symbol, exchange_date
)

SELECT
    symbol,
    exchange_date,
    round(vwap, CAST(greatest(4, 6 - floor(log10(vwap))) AS integer)) AS vwap,
    last_price,
    volume,
    ticks
FROM days
ORDER BY exchange_date
