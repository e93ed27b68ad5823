-- The symbols that moved most, in percent: from the close before these days to the latest price.
-- Parameters: days=1, symbols=10
WITH moves AS (
    SELECT
        symbol,
        min_by(previous_close, "timestamp") AS previous_close,
        max_by(price, "timestamp") AS price,
        max("timestamp") AS quoted_at
    FROM stock_ticks
    WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
    GROUP BY symbol
),

ranked AS (
    SELECT
        *,
        row_number() OVER (ORDER BY abs(price / previous_close - 1) DESC, symbol) AS place
    FROM moves
)

SELECT
    place,
    symbol,
    round((price / previous_close - 1) * 100, 2) AS move_percent,
    previous_close,
    price,
    quoted_at
FROM ranked
WHERE place <= ?
ORDER BY place
