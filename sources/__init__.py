"""Sources of quotes other than Yahoo polling, which is in stream_stock_data.py itself.

A source has a `name`, `fetch(symbols)` for the newest quotes (at most one for each symbol), `exhausted` (True
when no more quotes will come) and `history(symbols, backfill)` for quotes of the past, oldest first.
build_tick in stream_stock_data.py says what a quote is.
"""
