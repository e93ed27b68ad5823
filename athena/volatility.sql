-- The realized volatility of each symbol and day, from 5-minute returns, also scaled to a year of 252 days.
-- Parameters: days=7
WITH closes AS (
    SELECT
        symbol,
        CAST(exchange_time AS date) AS exchange_date,
        date_add('minute', -(minute("timestamp") % 5), date_trunc('minute', "timestamp")) AS starts_at,
        max_by(price, "timestamp") AS price
    FROM stock_ticks
    WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
    GROUP BY
        symbol,
        CAST(exchange_time AS date),
        date_add('minute', -(minute("timestamp") % 5), date_trunc('minute', "timestamp"))
),

moves AS (
    SELECT *, ln(price / lag(price) OVER (PARTITION BY symbol, exchange_date ORDER BY starts_at)) AS move
    FROM closes
)

SELECT
    symbol,
    exchange_date,
    round(sqrt(sum(move * move)) * 100, 4) AS volatility_percent,
    round(sqrt(sum(move * move) * 252) * 100, 2) AS yearly_percent,
    count(move) AS returns
FROM moves
GROUP BY symbol, exchange_date
HAVING count(move) > 0
ORDER BY exchange_date, volatility_percent DESC, symbol
