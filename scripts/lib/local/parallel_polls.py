"""Makes MiniStack read tables' streams beside data streams, as Lambda does.

MiniStack 1.5.33 polls all sources in one thread, and waits for each function. So the analysis of the first
ticks of a batch begins only when the last one is stored.
"""

import logging
import threading
import time
from typing import Any

IDLE_SECONDS = 0.05


def poll_tables_beside(awslambda: Any) -> None:
    """Move the poll of tables' streams of `ministack.services.lambda_svc` to a thread of its own."""
    poll, ensure_poller = awslambda._poll_dynamodb_streams, awslambda._ensure_poller
    started = threading.Event()

    def poll_for_ever() -> None:
        while True:
            try:
                is_busy = poll()
            except Exception:  # as in MiniStack's own loop
                logging.getLogger("lambda").exception("the poll of the tables' streams failed")
                is_busy = False
            if not is_busy:
                time.sleep(IDLE_SECONDS)

    def ensure_pollers() -> None:  # after the saved state is loaded, or with the first mapping
        ensure_poller()
        if not started.is_set():
            started.set()
            threading.Thread(target=poll_for_ever, daemon=True).start()

    awslambda._poll_dynamodb_streams = lambda: False
    awslambda._ensure_poller = ensure_pollers
