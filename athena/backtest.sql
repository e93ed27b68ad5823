-- What trading on the crossovers would have earned, compared with buying once and holding.
-- Parameters: days=30
-- A BUY buys and a SELL sells at the price of the next tick, with all the money, without fees, taxes or spread. A
-- position that is still open counts at the last price. The worst drawdown is the deepest fall below the highest
-- value so far. Prices are added up as in sma_crossovers.
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
        price,
        row_number() OVER by_time AS place,
        lag(price) OVER by_time AS price_before,
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
        last_value(side) IGNORE NULLS OVER (
            PARTITION BY symbol ORDER BY "timestamp" ROWS BETWEEN 500 PRECEDING AND 1 PRECEDING
        ) AS side_before
    FROM sides
),

signals AS (
    SELECT
        *,
        CASE
            WHEN place > 20 AND side IS NOT NULL AND (side_before IS NULL OR side <> side_before) THEN side
        END AS signal
    FROM crossings
),

-- A signal acts at the next tick. So what is held between the tick before and this one follows from the signals up
-- to two ticks before.
positions AS (
    SELECT
        *,
        coalesce(last_value(signal) IGNORE NULLS OVER (
            PARTITION BY symbol ORDER BY "timestamp" ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
        ), 'SELL') AS held
    FROM signals
),

worths AS (
    SELECT
        *,
        lag(held, 1, 'SELL') OVER (PARTITION BY symbol ORDER BY "timestamp") AS held_before,
        exp(sum(CASE WHEN held = 'BUY' THEN ln(price / price_before) ELSE 0 END) OVER (
            PARTITION BY symbol ORDER BY "timestamp"
        )) AS worth
    FROM positions
),

peaks AS (
    SELECT
        *,
        max(worth) OVER (PARTITION BY symbol ORDER BY "timestamp") AS peak,
        max(price) OVER (PARTITION BY symbol ORDER BY "timestamp") AS peak_price
    FROM worths
)

SELECT
    symbol,
    count(*) AS ticks,
    count_if(held = 'BUY' AND held_before = 'SELL') AS trades,
    round((max_by(worth, "timestamp") - 1) * 100, 4) AS return_percent,
    round((max_by(price, "timestamp") / min_by(price, "timestamp") - 1) * 100, 4) AS hold_percent,
    round(min(worth / peak - 1) * 100, 4) AS worst_drawdown_percent,
    round(min(price / peak_price - 1) * 100, 4) AS hold_drawdown_percent,
    min("timestamp") AS since,
    max("timestamp") AS until
FROM peaks
GROUP BY symbol
ORDER BY return_percent DESC, symbol
