-- 1-minute candles of a symbol: open, high, low, close and traded volume, in UTC and in the exchange's time.
-- Parameters: symbol, days=1
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
    date_trunc('minute', "timestamp") AS starts_at,
    date_trunc('minute', exchange_time) AS exchange_time,
    min_by(first_price, "timestamp") AS open,
    max(highest) AS high,
    min(lowest) AS low,
    max_by(price, "timestamp") AS close,
    sum(CASE WHEN traded < 0 THEN 0 ELSE traded END) AS volume,
    count(*) AS ticks
FROM ticks
GROUP BY symbol, date_trunc('minute', "timestamp"), date_trunc('minute', exchange_time)
ORDER BY starts_at
