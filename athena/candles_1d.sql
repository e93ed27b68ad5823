-- Daily candles of a symbol: open, high, low, close, traded volume a trading day of the exchange.
-- Parameters: symbol, days=30
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
    CAST(exchange_time AS date) AS exchange_date,
    min("timestamp") AS first_tick,
    max("timestamp") AS last_tick,
    min_by(price, "timestamp") AS open,
    max(price) AS high,
    min(price) AS low,
    max_by(price, "timestamp") AS close,
    sum(CASE WHEN traded < 0 THEN 0 ELSE traded END) AS volume,
    count(*) AS ticks
FROM ticks
GROUP BY symbol, CAST(exchange_time AS date)
ORDER BY exchange_date
