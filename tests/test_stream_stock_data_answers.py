"""Whatever Yahoo answers, the producer goes on, sends valid ticks only and loses no good row to a bad one."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stream_stock_data as producer
from helpers.parts import parts
from helpers.yahoo import chart_of, market
from stream_stock_data import CHART_URL, Checkpoint, Producer, YahooSource, parse_timestamp

GOOD, ODD = ["AAPL", "MSFT", "EURUSD=X"], ["ZRC-USD", "KRWUSD=X", "^VIX"]
BARS = 5
NOW = time.time()

numbers = st.one_of(st.integers(), st.floats(), st.floats(1e-9, 1e7), st.just(10**400))
leaves = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=5), st.sampled_from([0, "", "REGULAR"])
)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without the lines of thousands of faults."""
    logging.getLogger("producer").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("producer").setLevel(logging.NOTSET)


def row_of(symbol: str, price: float) -> dict:
    """A good row of the batch endpoint."""
    return market(symbol, NOW) | {
        "regularMarketPrice": price,
        "regularMarketPreviousClose": price * 0.99,
        "regularMarketChangePercent": 1.01,
    }


def chart_answer(row: dict) -> dict:
    """A good answer of the chart endpoint: finished one-minute bars with the price of the row."""
    newest = int(row["regularMarketTime"])
    starts = [newest - 60 * n for n in range(BARS, 0, -1)]
    chart = chart_of(row, starts=starts, bars=[row] * BARS)
    return {"chart": {"result": [chart], "error": None}}


def paths(answer: object, at: tuple = ()) -> Iterator[tuple]:
    """The paths of all parts of an answer."""
    steps = (
        answer.items() if isinstance(answer, dict) else enumerate(answer) if isinstance(answer, list) else ()
    )
    for step, part in steps:
        yield (*at, step)
        yield from paths(part, (*at, step))


@st.composite
def spoilt(draw: st.DrawFn, answer: object) -> object:
    """The answer with some of its parts missing or replaced by anything."""
    answer = copy.deepcopy(answer)
    for path in draw(st.lists(st.sampled_from(list(paths(answer))), max_size=4)):
        *parents, step = path
        part = producer.value_at(answer, *parents)
        if producer.value_at(part, step) is None:  # gone with a part around it
            continue
        if draw(st.booleans()):
            part[step] = draw(json_values)
        else:
            del part[step]
    return answer


@st.composite
def markets(draw: st.DrawFn) -> tuple[dict[str, dict], object, dict[str, object]]:
    """Good rows by symbol; the answer of the batch endpoint; those of the chart endpoint by symbol."""
    good = {symbol: row_of(symbol, draw(st.floats(1e-9, 1e7))) for symbol in GOOD}
    odd = [draw(spoilt(row_of(symbol, draw(st.floats(1e-9, 1e7))))) for symbol in ODD]
    rows = draw(st.permutations([*good.values(), *odd, draw(json_values)]))
    batch = {"quoteResponse": {"result": list(rows), "error": None}}
    if draw(st.booleans()):
        batch = draw(spoilt({"quoteResponse": {"result": None}}) | json_values)
    charts = {symbol: chart_answer(row) for symbol, row in good.items()}
    for symbol in ODD:
        charts[symbol] = draw(spoilt(chart_answer(row_of(symbol, 1.0))) | json_values)
    return good, batch, charts


class Answers:
    """A client of Yahoo with one answer of the batch endpoint, and one a symbol of the chart endpoint."""

    _crumb = None

    def __init__(self, batch: object, charts: dict[str, object]) -> None:
        self._batch, self._charts = batch, charts

    def get(self, url: str, params: dict[str, str], timeout: float) -> Answers:
        answer = Answers(self._batch, self._charts)
        symbol = producer.urllib.parse.unquote(url.removeprefix(CHART_URL))
        answer.text = json.dumps(self._charts[symbol] if url.startswith(CHART_URL) else self._batch)
        return answer

    status_code = 200

    def json(self) -> object:
        return json.loads(self.text)


class Listening(Producer):
    """A producer without a stream that keeps what it would send."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ticks: list[dict] = []

    def on_sent(self, tick: dict, answer: dict) -> None:
        super().on_sent(tick, answer)
        self.ticks.append(tick)


def listening(answers: tuple) -> Listening:
    _, batch, charts = answers
    source = YahooSource()
    source._client = Answers(batch, charts)
    return Listening(
        source,
        GOOD + ODD,
        delay=0.001,
        checkpoint=Checkpoint(None, stream_created=None),
        spool=None,
        stream=None,
        heartbeat=producer.Heartbeat(""),
        clock=producer.Clock(),
        set_status=lambda text: None,
    )


def check_contract(tick: dict) -> None:
    """Whether a tick is what the rest of the pipeline may rely on."""
    json.dumps(tick, allow_nan=False).encode()
    assert tick["symbol"] in GOOD + ODD
    for name in ("price", "previous_close"):
        assert type(tick[name]) is float
        assert 0 < tick[name] < math.inf
    for name in ("open", "high", "low"):
        assert tick[name] is None or (type(tick[name]) is float and 0 < tick[name] < math.inf)
    assert tick["volume"] is None or (type(tick["volume"]) is int and 0 <= tick["volume"] < 2**63)
    assert type(tick["change"]) is float
    percent = (tick["price"] / tick["previous_close"] - 1) * 100
    assert tick["change_percent"] == pytest.approx(percent, rel=1e-3, abs=1e-3)
    assert parse_timestamp(tick["timestamp"]) <= datetime.now(UTC) + timedelta(minutes=5)
    assert tick["source"] == "yahoo"
    for name, kind in producer.OPTIONAL.items():
        assert name not in tick or type(tick[name]) is kind
    assert len(json.dumps(tick)) < 1000


@given(markets())
@settings(max_examples=60 * len(parts(5)), deadline=None)
def test_run_any_answers_send_valid_ticks_and_every_good_row(answers):
    running = listening(answers)
    running.run(2)
    for tick in running.ticks:
        check_contract(tick)
    prices = {tick["symbol"]: tick["price"] for tick in running.ticks}
    for symbol, row in answers[0].items():
        assert prices[symbol] == pytest.approx(row["regularMarketPrice"], rel=1e-6)


@given(markets())
@settings(max_examples=30 * len(parts(5)), deadline=None)
def test_backfill_any_answers_send_valid_ticks_and_every_good_bar(answers):
    loading = listening(answers)
    loading.backfill("5")
    for tick in loading.ticks:
        check_contract(tick)
        assert tick["history"] is True
    for symbol, row in answers[0].items():
        prices = [tick["price"] for tick in loading.ticks if tick["symbol"] == symbol]
        assert prices == pytest.approx([row["regularMarketPrice"]] * BARS, rel=1e-6)
