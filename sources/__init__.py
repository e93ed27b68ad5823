"""Sources of quotes other than Yahoo polling, which is in stream_stock_data.py itself.

A source has a `name`, `fetch(symbols)` for the newest quotes (at most one a symbol), `exhausted` (True when
there is nothing more to come) and `history(symbols, backfill)` for quotes of the past, oldest first.
"""
