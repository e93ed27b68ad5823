-- The latest quote of each symbol: price, change since the previous close, and when it was quoted.
-- Parameters: days=7
SELECT
    symbol,
    max_by(price, "timestamp") AS price,
    max_by(currency, "timestamp") AS currency,
    max_by(change, "timestamp") AS change,
    max_by(change_percent, "timestamp") AS change_percent,
    max_by(volume, "timestamp") AS volume,
    max("timestamp") AS quoted_at,
    max_by(exchange_time, "timestamp") AS exchange_time
FROM stock_ticks
WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
GROUP BY symbol
ORDER BY symbol
