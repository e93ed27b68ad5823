-- 1-minute candles of a symbol: open, high, low, close, traded volume; in UTC and in the exchange's time.
-- Parameters: symbol, days=1
-- The volume of a tick counts from the start of the exchange's day: each adds what it has more than the one before
-- it, the first of a day all that it has.
WITH ticks AS (
    SELECT
        *,
        volume - coalesce(lag(volume) IGNORE NULLS OVER (
            PARTITION BY symbol, CAST(exchange_time AS date) ORDER BY "timestamp"
        ), 0) AS traded
    FROM stock_ticks
    WHERE symbol = ? AND dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
)

SELECT
    symbol,
    date_trunc('minute', "timestamp") AS starts_at,
    date_trunc('minute', exchange_time) AS exchange_time,
    min_by(price, "timestamp") AS open,
    max(price) AS high,
    min(price) AS low,
    max_by(price, "timestamp") AS close,
    sum(CASE WHEN traded < 0 THEN 0 ELSE traded END) AS volume,
    count(*) AS ticks
FROM ticks
GROUP BY symbol, date_trunc('minute', "timestamp"), date_trunc('minute', exchange_time)
ORDER BY starts_at
