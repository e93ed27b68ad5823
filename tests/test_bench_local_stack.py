"""bench/: what end_to_end.py, soak.py and chaos.py count with, and the network that chaos.py breaks."""

from __future__ import annotations

import http.server
import sys
import threading
import urllib.request
from unittest import mock

import pytest

from helpers.checkout import ROOT, load_module

with mock.patch.object(sys, "path", [str(ROOT / "bench"), *sys.path]):
    end_to_end = load_module("bench/end_to_end.py")
    local_stack = load_module("bench/local_stack.py")
    network = load_module("bench/network.py")
    prefill = load_module("bench/prefill.py")
    soak = load_module("bench/soak.py")

A, B = ("A", "2026-11-20T15:00:00.000Z"), ("B", "2026-11-20T15:00:09.000Z")


def run_of(**moments):
    fetched = {(f"S{n}", "now"): 100.0 + n for n in range(10)}
    late = {key: at + 0.25 for key, at in fetched.items()}
    stages = dict.fromkeys(end_to_end.STAGES, late) | moments
    return end_to_end.Run(fetched, stages, cpu_seconds=1.0, seconds=10.0)


def test_lags_leave_out_the_start_and_what_never_came():
    run = run_of(stored={("S1", "now"): 101.5, ("S7", "now"): 109.0, ("S6", "now"): 106.5})
    assert end_to_end.lags(run, "stored") == [0.5, 2.0]
    assert end_to_end.lags(run, "alerted") == [0.25] * 5


def test_show_met_goals_are_none_and_each_missed_one_is_named(capsys):
    assert end_to_end.show("case", run_of()) == []
    late = {(f"S{n}", "now"): 103.5 + n for n in range(9)}
    assert end_to_end.show("case", run_of(stored=late)) == [
        "case: stored within 1 s, flat",
        "case: all ticks stored",
    ]
    assert "9 of 10 ticks stored, 111.1 ms CPU a tick" in capsys.readouterr().out


def test_show_lags_that_grow_are_not_flat():
    growing = {(f"S{n}", "now"): 100 + n + (0.1 if n < 7 else 1.9) for n in range(10)}
    fast = end_to_end.show("case", run_of(alerted=growing))
    assert fast == []  # still within the goal
    growing[("S9", "now")] = 112.0
    assert end_to_end.show("case", run_of(alerted=growing)) == ["case: alerted within 2 s, flat"]


def test_candidates_an_alert_of_the_tutorial_is_the_newest_tick_of_its_price():
    newer = ("A", "2026-11-20T15:00:05.000Z")
    ticks = {A: {"price": 9.5}, newer: {"price": 9.5}, B: {"price": 9.5}}
    assert list(end_to_end.candidates({"text": "A: BUY at 9.5"}, ticks)) == [newer, A]
    ours = {"symbol": "B", "timestamp": B[1], "alert_id": f"{B[1]}#BUY"}
    assert list(end_to_end.candidates(ours, ticks)) == [B]
    assert list(end_to_end.candidates({"symbol": "TEST"}, ticks)) == []


def test_is_crossover_neither_a_digest_nor_an_anomaly_is_one():
    alert = {"alert_id": "1#BUY", "signal": "BUY"}
    assert local_stack.is_crossover(alert)
    assert not local_stack.is_crossover({"signal": "BUY"})
    assert not local_stack.is_crossover(alert | {"signal": "ANOMALY"})


def test_growth_is_measured_from_the_first_sample():
    assert soak.growth([50.0, 49.0, 52.5, 51.0]) == 2.5
    assert soak.growth([]) == 0


def test_lags_of_the_log_are_those_of_new_live_batches(tmp_path):
    log = tmp_path / "ministack.log"
    line = '{"_aws": {}, "FunctionName": "StockTrendAnalysis", "Lag": %d}\n'
    log.write_text(line % 9000)
    lags = soak.Lags(log)
    with log.open("a") as more:
        more.write(
            f"other\n{line % 1500}{line % 0}{line.replace('StockTrendAnalysis', 'ProcessStockData') % 7}"
        )
    assert lags.new() == [1.5]
    assert lags.new() == []


def test_past_items_are_ticks_of_the_table_one_a_second():
    first, second = prefill.past_items("AAPL", 2)
    assert first["timestamp"]["S"] < second["timestamp"]["S"]
    assert {"symbol", "price", "change_percent", "fetched_at", "anomaly", "expires_at"} <= first.keys()
    assert [next(iter(first[name])) for name in ("price", "currency", "anomaly")] == ["N", "S", "BOOL"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_usage_of_this_process_is_known_and_of_none_is_none():
    usage = local_stack.usage_of(local_stack.os.getpid())
    assert usage.megabytes > 1
    assert usage.descriptors > 2
    assert local_stack.usage_of(2**22 + 1) is None


@pytest.fixture
def server():
    """A web server's port."""
    handler = type("Handler", (http.server.BaseHTTPRequestHandler,), {})
    handler.do_GET = lambda self: (self.send_response(204), self.end_headers())
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


def get(endpoint):
    with urllib.request.urlopen(endpoint, timeout=10) as answer:
        return answer.status


def test_network_forwards_until_it_is_cut_and_again_afterwards(server):
    with network.Network(server) as between:
        assert get(between.endpoint) == 204
        between.delay = 0.01
        assert get(between.endpoint) == 204
        between.cut()
        with pytest.raises(OSError, match=r"reset|closed|refused"):
            get(between.endpoint)
        between.is_cut = False
        assert get(between.endpoint) == 204


def test_network_without_the_emulator_closes_the_connection():
    with (
        network.Network(local_stack.free_port()) as between,
        pytest.raises(OSError, match=r"reset|closed|refused"),
    ):
        get(between.endpoint)
