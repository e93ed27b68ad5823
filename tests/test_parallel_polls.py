"""scripts/lib/local/parallel_polls.py: tables' streams are polled in a thread of their own."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from helpers.checkout import load_module

parallel_polls = load_module("scripts/lib/local/parallel_polls.py")


def test_poll_of_tables_runs_in_one_thread_of_its_own_and_outlives_an_error():
    threads, polled_again, forever = [], threading.Event(), threading.Event()

    def poll():
        threads.append(threading.current_thread())
        if len(threads) == 1:
            raise RuntimeError("a table was deleted meanwhile")
        polled_again.set()
        forever.wait()

    ensured = []
    awslambda = SimpleNamespace(_poll_dynamodb_streams=poll, _ensure_poller=lambda: ensured.append(True))
    parallel_polls.poll_tables_beside(awslambda)
    assert threads == []  # the saved state is not loaded yet
    awslambda._ensure_poller()
    awslambda._ensure_poller()
    assert polled_again.wait(10)
    assert ensured == [True, True]
    assert threads[0] is threads[1] is not threading.current_thread()
    assert awslambda._poll_dynamodb_streams() is False  # the other loop leaves them alone
    assert len(threads) == 2
