"""The parts of the page that dashboard.py draws.

Read them in this order: reading (settings and calls to AWS), ticks (one symbol in memory, and what is
computed from its ticks), feed (when to read what), then what the page shows: strip, tables, chart.
"""
