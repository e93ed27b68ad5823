-- The volume-weighted average price of a symbol for each day, next to the day's last price.
-- Parameters: symbol, days=7
-- The volume of a tick counts from the start of the exchange's day: a tick weighs what it has more than the one
-- before it. The day's first tick weighs nothing: at what prices its volume was traded is not known.
WITH ticks AS (
    SELECT
        *,
        CAST(exchange_time AS date) AS exchange_date,
        volume - lag(volume) IGNORE NULLS OVER (
            PARTITION BY symbol, CAST(exchange_time AS date) ORDER BY "timestamp"
        ) AS traded
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
