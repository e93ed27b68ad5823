-- How closely two symbols move together: the correlation of their 5-minute returns, from -1 to 1.
-- Parameters: symbol, other, days=7
WITH closes AS (
    SELECT
        symbol,
        date_add('minute', -(minute("timestamp") % 5), date_trunc('minute', "timestamp")) AS starts_at,
        CAST(max_by(exchange_time, "timestamp") AS date) AS exchange_date,
        max_by(price, "timestamp") AS price
    FROM stock_ticks
    WHERE symbol IN (?, ?) AND dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
    GROUP BY symbol, date_add('minute', -(minute("timestamp") % 5), date_trunc('minute', "timestamp"))
),

pairs AS (
    SELECT
        one.symbol,
        two.symbol AS other,
        one.starts_at,
        ln(one.price / lag(one.price) OVER (PARTITION BY one.exchange_date ORDER BY one.starts_at)) AS move,
        ln(two.price / lag(two.price) OVER (PARTITION BY one.exchange_date ORDER BY one.starts_at)) AS other_move
    FROM closes AS one
    INNER JOIN closes AS two ON one.starts_at = two.starts_at AND one.symbol < two.symbol
)

SELECT
    symbol,
    other,
    round(corr(move, other_move), 4) AS correlation,
    count(move) AS returns,
    min(starts_at) AS first_interval,
    max(starts_at) AS last_interval
FROM pairs
GROUP BY symbol, other
HAVING count(move) > 1
