-- The BUY and SELL signals in the history: where the average of 5 ticks crossed that of 20, as in the alerts.
-- Parameters: days=7
-- Compared as decimals, so that equal is equal. A touch that turns back is no cross; where the averages were equal
-- for all the ticks before, up to 500, leaving that is one. For other lengths change 4 and 19, 5 and 20, and 21.
-- A symbol's first 20 ticks of these days are too few for a signal.
WITH sums AS (
    SELECT
        symbol,
        "timestamp",
        exchange_time,
        price,
        change_percent,
        row_number() OVER by_time AS place,
        sum(CAST(price AS decimal(18, 4))) OVER (by_time ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS short_sum,
        sum(CAST(price AS decimal(18, 4))) OVER (by_time ROWS BETWEEN 19 PRECEDING AND CURRENT ROW) AS long_sum
    FROM stock_ticks
    WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
    WINDOW by_time AS (PARTITION BY symbol ORDER BY "timestamp")
),

sides AS (
    SELECT
        *,
        CASE
            WHEN place < 20 OR 20 * short_sum = 5 * long_sum THEN NULL
            WHEN 20 * short_sum > 5 * long_sum THEN 'BUY'
            ELSE 'SELL'
        END AS side
    FROM sums
),

crossings AS (
    SELECT
        *,
        last_value(side) IGNORE NULLS OVER (
            PARTITION BY symbol ORDER BY "timestamp" ROWS BETWEEN 500 PRECEDING AND 1 PRECEDING
        ) AS side_before
    FROM sides
)

SELECT
    symbol,
    "timestamp",
    exchange_time,
    side AS signal,
    price,
    change_percent,
    round(CAST(short_sum AS double) / 5, 4) AS sma_short,
    round(CAST(long_sum AS double) / 20, 4) AS sma_long
FROM crossings
WHERE place > 20 AND side IS NOT NULL AND (side_before IS NULL OR side <> side_before)
ORDER BY "timestamp", symbol
