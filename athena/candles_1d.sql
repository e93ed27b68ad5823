-- Daily candles of a symbol: open, high, low, close and traded volume of each trading day of the exchange.
-- Parameters: symbol, days=30
-- A tick of history and a replayed tick have the open, high, low of their own bar. A live tick has those of the day
-- so far, so only its price counts. A tick's volume is the exchange's day so far: each tick adds its increase over
-- the tick before it. A replayed tick has the volume of its bar.
WITH ticks AS (
    SELECT
        *,
        CASE WHEN history OR replayed_from IS NOT NULL THEN coalesce(open, price) ELSE price END AS first_price,
        CASE WHEN history OR replayed_from IS NOT NULL THEN coalesce(high, price) ELSE price END AS highest,
        CASE WHEN history OR replayed_from IS NOT NULL THEN coalesce(low, price) ELSE price END AS lowest,
        CASE WHEN replayed_from IS NOT NULL THEN volume ELSE volume - coalesce(lag(volume) IGNORE NULLS OVER (
            PARTITION BY symbol, CAST(exchange_time AS date) ORDER BY "timestamp"
        ), 0) END AS traded
    FROM stock_ticks
    WHERE symbol = ? AND dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
)

SELECT
    symbol,
    CAST(exchange_time AS date) AS exchange_date,
    min("timestamp") AS first_tick,
    max("timestamp") AS last_tick,
    min_by(first_price, "timestamp") AS open,
    max(highest) AS high,
    min(lowest) AS low,
    max_by(price, "timestamp") AS close,
    sum(CASE WHEN traded < 0 THEN 0 ELSE traded END) AS volume,
    count(*) AS ticks
FROM ticks
GROUP BY symbol, CAST(exchange_time AS date)
ORDER BY exchange_date
