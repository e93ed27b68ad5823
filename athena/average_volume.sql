-- The average volume of each symbol: shares per trading day, over the days that have ticks.
-- Parameters: days=30
WITH sessions AS (
    SELECT symbol, CAST(exchange_time AS date) AS exchange_date, max(volume) AS volume
    FROM stock_ticks
    WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
    GROUP BY symbol, CAST(exchange_time AS date)
)

SELECT
    symbol,
    round(avg(CAST(volume AS double))) AS average_volume,
    max(volume) AS highest_volume,
    max_by(exchange_date, volume) AS highest_on,
    count(volume) AS trading_days
FROM sessions
GROUP BY symbol
ORDER BY average_volume DESC, symbol
