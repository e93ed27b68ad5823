-- The BUY and SELL signals in the history: where the 5-tick average crossed the 20-tick one, as in the alerts.
-- Parameters: days=7
-- Prices are added up as whole numbers, so that equal averages compare as equal: a price has as many units as 4
-- decimals need, or 8 digits of the symbol's lowest price. Averages that meet and part to the same side do not
-- cross. If they were equal for all ticks before, up to 500, the first difference is a cross. For other lengths
-- change 4 and 19, 5 and 20, and 20. A symbol's first 20 ticks of these days are too few for a signal.
WITH ticks AS (
    SELECT
        *,
        power(10, greatest(4, 7 - floor(log10(min(price) OVER (PARTITION BY symbol))))) AS units
    FROM stock_ticks
    WHERE dt > date_format(date_add('day', -?, current_date), '%Y-%m-%d')
),

sums AS (
    SELECT
        symbol,
        "timestamp",
        exchange_time,
        price,
        change_percent,
        units,
        row_number() OVER by_time AS place,
        sum(CAST(round(price * units) AS decimal(38, 0))) OVER (
            by_time ROWS BETWEEN 4 PRECEDING AND CURRENT ROW
        ) AS short_sum,
        sum(CAST(round(price * units) AS decimal(38, 0))) OVER (
            by_time ROWS BETWEEN 19 PRECEDING AND CURRENT ROW
        ) AS long_sum
    FROM ticks
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
        CAST(short_sum AS double) / units / 5 AS short_mean,
        CAST(long_sum AS double) / units / 20 AS long_mean,
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
    round(short_mean, CAST(greatest(4, 6 - floor(log10(short_mean))) AS integer)) AS sma_short,
    round(long_mean, CAST(greatest(4, 6 - floor(log10(long_mean))) AS integer)) AS sma_long
FROM crossings
WHERE place > 20 AND side IS NOT NULL AND (side_before IS NULL OR side <> side_before)
ORDER BY "timestamp", symbol
