"""The dashboard in a real Chromium over a real MiniStack, whose user has the dashboard's own policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import botocore.session
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from selenium.webdriver.common.keys import Keys

from dashboard_parts import reading
from helpers.checkout import as_list, rendered
from helpers.dashboard_page import SETTINGS, Page, Tables, dashboard, eventually, need_browser, settled
from helpers.emulator import aws_environment, ministack
from helpers.mocked_aws import LOADER

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("dashboard")]

SYMBOLS = ["AAPL", "^GSPC", "BRK-B", "EURUSD=X"]
ODD = "O'NEIL<b>&*_"  # no setting names it: the page knows it from its alert


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """Tables with an hour of ticks, on a MiniStack that enforces IAM."""
    with ministack(tmp_path_factory.mktemp("dashboard")) as endpoint:
        tables = Tables(endpoint)
        tables.create()
        for number, symbol in enumerate([*SYMBOLS, ODD]):
            tables.put_ticks(
                symbol, [100 + number + place % 7 / 10 for place in range(120)], source="simulated"
            )
        tables.put_alert(ODD, "2026-11-20T15:00:00.000Z", "BUY", "104.5")
        yield tables


@pytest.fixture(scope="module")
def address(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's server, as a user who has the read-only policy and nothing else."""
    credentials = tables.user("viewer", rendered("scripts/policies/dashboard.json", SETTINGS))
    directory = tmp_path_factory.mktemp("server")
    settings = credentials | {"STOCK_SYMBOLS": ",".join(SYMBOLS), "TZ": "America/New_York"}
    with dashboard(directory, tables.endpoint, refresh_seconds=0.5, **settings) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    need_browser()
    page = Page(height=700)
    try:
        page.driver.get(address)
        eventually(lambda: page.row("AAPL") and page.chart())
        yield page
    finally:
        page.driver.quit()


def newest_price(tables: Tables, symbol: str) -> float:
    """The newest price in DynamoDB."""
    (item,) = tables.dynamodb.query(
        TableName="stock-market-data",
        KeyConditionExpression="symbol = :symbol",
        ExpressionAttributeValues={":symbol": {"S": symbol}},
        ScanIndexForward=False,
        Limit=1,
    )["Items"]
    return float(item["price"]["N"])


def test_page_shows_the_tables_and_follows_them_without_a_reload(page: Page, tables: Tables) -> None:
    page.run("window.notReloaded = true")
    # Wait until the page has read all of them.
    eventually(lambda: all("".join(page.row(symbol)[5:6])[:1] in set("▲▼▬") for symbol in [*SYMBOLS, ODD]))
    for symbol in [*SYMBOLS, ODD]:
        assert float(page.row(symbol)[1]) == newest_price(tables, symbol)
    assert "made-up prices" in page.text(".strip .badge")
    assert page.text(".strip").count("?") == 0  # the page knows the market and can count in the bucket
    eventually(lambda: [row[1:3] for row in page.table(1)] == [[ODD, "▲ BUY"]])

    page.select(2)
    eventually(lambda: page.text("h2").startswith("BRK-B"))
    page.press(Keys.ARROW_UP)
    eventually(lambda: page.text("h2").startswith("^GSPC") and page.chart().startswith("Price of ^GSPC"))
    whole = page.range()
    eventually(lambda: page.zoom() or page.range() != whole)
    zoomed = settled(page.range)
    main = "document.querySelector('[data-testid=stMain]')"
    page.run(f"{main}.scrollTop = 100")

    (timestamp,) = tables.put_ticks("^GSPC", [123.45], source="simulated")
    eventually(lambda: float(page.row("^GSPC")[1]) == 123.45)
    tables.put_alert("^GSPC", timestamp, "SELL", "123.45")
    eventually(lambda: page.table(1)[0][1:3] == ["^GSPC", "▼ SELL"])
    tables.put_alert("^GSPC", timestamp, "ANOMALY", "123.45")  # its key sorts before that of the other one
    eventually(lambda: {row[2] for row in page.table(1)} >= {"◆ ANOMALY"})

    assert page.row("^GSPC")[5].endswith("◆")
    assert page.text("h2").startswith("^GSPC")
    assert page.range() == zoomed
    assert page.run(f"return {main}.scrollTop") == 100
    assert page.run("return window.notReloaded")
    assert page.complaints() == []
    assert page.hosts() == {"127.0.0.1"}


def test_zoom_and_crosshair_survive_20_refreshes_another_theme_another_size_and_wider_candles(
    page: Page, tables: Tables, address: str
) -> None:
    (_, early, *_) = tables.put_ticks(
        "FAST", [100 + place / 10 for place in range(60)], every=3, source="simulated"
    )
    page.driver.get(f"{address}/?symbol=FAST&with=FAST&range=15+min")
    eventually(lambda: page.chart().startswith("Price of FAST"))
    page.view("root.querySelector('.chart').focus()")
    for key in ("+", Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT):
        page.press(key)
    page.view("view.chart.timeScale().scrollToPosition(-9, false)")
    count = "view.price.data().length"
    zoomed, first = settled(page.range), page.view(count)
    pointed, legend = page.view("view.at"), page.view("root.querySelector('.legend').textContent")
    page.view("view.chart.kept = true")

    for number in range(10):  # refreshes ask for ticks and for alerts in turn
        tables.put_ticks("FAST", [110 + number / 10], source="simulated")
        eventually(lambda: page.row("FAST")[1:2] == [f"{110 + number / 10:g}"])  # noqa: B023
        assert page.range() == zoomed
    assert page.view("view.chart.kept")
    for theme, colour in (("dark", "58a6ff"), ("light", "0b62b8")):
        page.choose_theme(theme)
        eventually(lambda: colour in page.view("view.price.options().upColor"))  # noqa: B023
        assert settled(page.range) == zoomed
        assert page.view("view.at") == pointed
    page.view("view.chart.kept = true")
    width = page.view("view.chart.paneSize().width")
    page.resize(1000, 700)
    eventually(lambda: page.view("view.chart.paneSize().width") < width)
    tables.put_alert("FAST", early, "BUY", "100")  # its candle is not the last one
    tables.put_ticks("FAST", [111.0], source="simulated")
    eventually(lambda: page.view("view.marks.markers().length") == 1)

    assert page.view(count) > first
    assert page.view("view.at") == pointed
    assert page.view("root.querySelector('.legend').textContent") == legend
    assert page.view("view.chart.kept")
    zoomed = page.range()
    later = datetime.now(UTC) + timedelta(minutes=5)
    tables.put_ticks("FAST", [112.0], newest=later, source="simulated")
    eventually(lambda: page.view("JSON.parse(view.look).seconds") == 10)
    assert not page.view("view.chart.kept")
    assert page.view("view.at") == pointed
    assert page.view("view.rows.length") > 40
    for end in ("from", "to"):
        assert abs(page.range()[end] - zoomed[end]) <= 20  # two candles: they are at most 40 px wide
    page.press("0")
    eventually(lambda: page.view("view.chart.timeScale().getVisibleLogicalRange().from") < 1)
    page.resize(1280, 700)
    assert page.complaints() == []
    assert page.hosts() == {"127.0.0.1"}


def test_keyboard_alone_chooses_a_symbol_and_a_range_and_zooms(page: Page, address: str) -> None:
    page.driver.get(address)
    eventually(lambda: page.chart().startswith("Price of AAPL") and page.row("AAPL"))
    opacity = "return getComputedStyle(document.querySelector('.stElementToolbar')).opacity"

    def tab_to(name: str) -> None:
        eventually(lambda: page.press(Keys.TAB) or name in page.focused())

    assert page.run(opacity) == "0"
    tab_to("Clear selection: Watchlist")
    assert page.run(opacity) == "1"
    tab_to("data-grid-canvas")
    page.press(Keys.ARROW_DOWN)
    eventually(lambda: page.chart().startswith("Price of ^GSPC, 1 h"))
    tab_to("15 min")
    page.press(Keys.SPACE)
    eventually(lambda: page.chart().startswith("Price of ^GSPC, 15 min"))
    tab_to("Price of ^GSPC")
    whole = settled(page.range)
    page.press("+")
    eventually(lambda: page.range()["from"] > whole["from"])


def test_page_of_an_address_fits_its_window_and_an_empty_chart_is_a_box(page: Page, address: str) -> None:

    def height_of(key: str) -> int:
        return page.run(f"return document.querySelector('.st-key-{key}').offsetHeight")

    page.driver.get(f"{address}/?symbol=EURUSD%3DX&with=EMPTY")  # a long name
    eventually(lambda: page.row("AAPL")[8:] and page.chart().startswith("Price of EURUSD=X"))
    assert page.text("h2").startswith("EURUSD=X")
    eventually(lambda: page.row("EMPTY")[5:6] == ["no ticks"])
    heights = [height_of("chart")]
    page.resize(390, 700)
    eventually(lambda: len(page.row("AAPL")) == 5)
    tops = page.run(
        "return [...document.querySelectorAll('.st-key-choices [data-testid=stButtonGroup]')]"
        ".map(e => e.getBoundingClientRect()).map(r => [r.top, r.right])"
    )
    assert tops[0][0] == tops[1][0]
    assert tops[1][1] <= 390 - 16
    hidden = "return [...document.querySelectorAll('.dvn-scroller')].map(e => e.scrollWidth - e.clientWidth)"
    eventually(lambda: max(page.run(hidden)) <= 0)  # both tables lie within their cards
    heights.append(height_of("chart"))
    page.resize(1280, 700)
    eventually(lambda: len(page.row("AAPL")) == 9)
    eventually(lambda: max(page.run(hidden)) <= 0)
    assert len(page.table(1)[0]) == 5
    page.resize(1920, 700)
    eventually(lambda: len(page.table(1)[0]) == 8)  # the averages of the alerts, too
    eventually(lambda: max(page.run(hidden)) <= 0)

    page.driver.get(f"{address}/?symbol=EMPTY&with=EMPTY")
    eventually(lambda: "Add it to STOCK_SYMBOLS" in page.text(".st-key-empty"))
    eventually(lambda: height_of("empty") == heights[0])
    page.resize(390, 700)
    eventually(lambda: height_of("empty") == heights[1])
    page.resize(1280, 700)


def expected_candles(ticks: pd.DataFrame, seconds: int) -> pd.DataFrame:
    """The candles of these ticks by pandas, at the time of the ticks or of their replayed bars."""
    price = ticks["price"].astype(float)
    ticks = ticks.assign(price=price, short=price.rolling(5).mean(), long=price.rolling(20).mean())
    is_in_session = ticks["timestamp"].diff() <= pd.Timedelta(hours=2)
    ticks["open"] = ticks["open"].fillna(price.shift().where(is_in_session, price)).fillna(price)
    ticks["high"] = ticks[["high", "open", "price"]].max(axis=1).where(ticks["high"].notna(), price)
    ticks["low"] = ticks[["low", "open", "price"]].min(axis=1).where(ticks["low"].notna(), price)
    groups = ticks.groupby(ticks["at"].map(lambda at: at.timestamp() // seconds * seconds))
    found = groups.agg(
        open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("price", "last")
    )
    found["high"], found["low"] = found.max(axis=1), found.min(axis=1)
    return found.join(groups[["short", "long"]].last())


def live(start: str, count: int, every: int) -> pd.DataFrame:
    times = pd.date_range(start, periods=count, freq=f"{every}s", tz="UTC")
    prices = [round(100 + 3 * math.sin(number / 7) + number % 5 / 10, 2) for number in range(count)]
    frame = pd.DataFrame({"timestamp": times, "at": times, "price": prices})
    return frame.assign(open=math.nan, high=math.nan, low=math.nan, history=False, replayed_from=None)


def past(start: str, count: int, every: int) -> pd.DataFrame:
    frame = live(start, count, every)
    price = frame["price"]
    return frame.assign(open=price - 0.4, high=price + 0.8, low=price - 1.1, history=True)


def replayed(start: str, count: int) -> pd.DataFrame:
    frame = past(start, count, 1).assign(at=pd.bdate_range("2012-03-01", periods=count, tz="UTC"))
    return frame.assign(history=False, replayed_from=frame["at"].dt.strftime("%Y-%m-%d"))


SESSIONS = pd.concat(
    [past(f"2026-11-{day} 14:30", 26, 900) for day in (16, 17, 18, 19, 20)], ignore_index=True
)
CASES = {  # the ticks, and the seconds of a candle in the range of five days
    "LIVE": (live("2026-11-20 15:00", 100, 30), 60),
    "BACKFILL": (
        pd.concat([past("2026-11-20 15:00", 50, 60), live("2026-11-20 15:50", 30, 5)], ignore_index=True),
        60,
    ),
    "REPLAY": (replayed("2026-11-20 15:00", 100), 86_400),
    "SESSIONS": (SESSIONS, 1800),
    "OUTAGE": (live("2026-11-20 15:00", 100, 30).drop(range(30, 60)).reset_index(drop=True), 60),
    "CLOCKS": (live("2026-10-24 23:00", 70, 600), 600),  # summer time ends at 1:00 UTC
}


@pytest.fixture(scope="module")
def charts(page: Page, tables: Tables, address: str) -> Callable[[str], None]:
    """charts(symbol): show the chart of this one of CASES, all of which one page lists."""
    for symbol, (frame, _) in CASES.items():
        items = []
        for _, tick in frame.iterrows():
            more = {
                name: round(tick[name], 2) for name in ("open", "high", "low") if not math.isnan(tick[name])
            }
            if tick["replayed_from"]:
                more |= {"replayed_from": tick["replayed_from"], "source": "replay"}
            if tick["history"]:
                more["history"] = True
            items += tables.tick_items(symbol, [tick["price"]], newest=tick["timestamp"], **more)
        tables.put(SETTINGS["TABLE_NAME"], items)

    def show(symbol: str) -> None:
        if "with=LIVE" not in page.driver.current_url:
            page.driver.get(f"{address}/?range=5+days&with={','.join(CASES)}")
        place = eventually(lambda: [row[0] for row in page.table(0)].index(symbol) if page.row(symbol) else 0)
        page.select(place)
        eventually(lambda: page.chart().startswith(f"Price of {symbol}, 5 days"))

    return show


@pytest.mark.parametrize("symbol", CASES)
def test_chart_holds_the_candles_and_averages_that_pandas_makes_of_the_same_ticks(
    symbol: str, page: Page, charts: Callable[[str], None]
) -> None:
    frame, seconds = CASES[symbol]
    zone, offset = ("Europe/Berlin", 3600) if symbol == "CLOCKS" else ("UTC", 0)
    page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})
    charts(symbol)
    expected = expected_candles(frame, seconds)
    read = "view.price.data().filter(p => p.close != null)"
    eventually(
        lambda: (
            [len(page.view(read)), page.view(f"{read}[0].time")]
            == [len(expected), expected.index[0] + offset]
        )
    )

    found = pd.DataFrame(page.view(read)).set_index("time")[["open", "high", "low", "close"]]
    for layer, name in ((1, "short"), (2, "long")):
        points = page.view(f"view.layers[{layer}].series.data().filter(p => p.value != null)")
        found[name] = pd.Series({point["time"]: point["value"] for point in points}, dtype=float)
    found.index -= offset
    pd.testing.assert_frame_equal(
        found.astype(float), expected, check_names=False, check_index_type=False, rtol=1e-8
    )
    gaps = page.view("view.rows.length") - len(expected)
    assert gaps == (15 if symbol == "OUTAGE" else 0)
    assert page.complaints() == []


def test_chart_of_a_replay_that_begins_again_follows_it(page: Page, tables: Tables, address: str) -> None:
    def replay(days: range) -> None:
        for day in days:
            tables.put_ticks("AGAIN", [100.0 + day], source="replay", replayed_from=f"2012-03-{day:02}")

    replay(range(1, 9))
    page.driver.get(f"{address}/?symbol=AGAIN&with=AGAIN")
    eventually(lambda: page.view("view.price.data().length") == 8)
    replay(range(1, 3))
    eventually(lambda: page.view("view.price.data().length") == 2)
    replay(range(3, 4))
    eventually(lambda: page.view("view.price.data().length") == 3)
    assert page.complaints() == []


def test_page_without_tables_says_so_and_recovers_by_itself(page: Page, tables: Tables, address: str) -> None:
    page.driver.get(address)
    eventually(lambda: page.row("AAPL"))
    tables.dynamodb.delete_table(TableName="stock-market-data")
    eventually(lambda: "No such table" in page.text("[data-testid=stAlert]"))
    assert "scripts/setup.sh" in page.text("[data-testid=stAlert]")

    tables.dynamodb.create_table(**rendered("scripts/resources/ticks_table.json", SETTINGS))
    eventually(lambda: "No ticks yet" in page.text(".st-key-empty"))
    eventually(lambda: "python stream_stock_data.py --source simulated" in page.text(".st-key-empty"))
    tables.put_ticks("AAPL", [77.0], newest=datetime.now(UTC), source="simulated")
    eventually(lambda: page.row("AAPL")[1:2] == ["77"])
    eventually(lambda: page.text("[data-testid=stAlert]") == "")


# --- The policy -----------------------------------------------------------------------------------


@pytest.fixture
def become_user_with(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """become_user_with(policy): the clients of this test have this policy only."""

    monkeypatch.setattr(botocore.session, "create_loader", lambda *paths: LOADER)

    def become(policy: dict[str, Any]) -> None:
        environment = aws_environment(tables.endpoint) | tables.user(f"user-{uuid4().hex}", policy)
        for name, value in environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)

    return become


def permissions() -> list[tuple[str, str]]:
    """Each permission of the policy: its Sid and action."""
    return [
        (statement["Sid"], action)
        for statement in rendered("scripts/policies/dashboard.json", SETTINGS)["Statement"]
        for action in as_list(statement["Action"])
    ]


@pytest.mark.parametrize(("sid", "action"), permissions())
def test_policy_without_one_permission_is_denied(
    sid: str, action: str, become_user_with: Callable[[dict[str, Any]], None]
) -> None:
    policy = rendered("scripts/policies/dashboard.json", SETTINGS)
    for statement in policy["Statement"]:
        if statement["Sid"] == sid:
            statement["Action"] = [kept for kept in as_list(statement["Action"]) if kept != action]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    become_user_with(policy)
    client = partial(reading.make_client, region="us-east-1")
    read = partial(reading.read_items, client("dynamodb"), symbol="AAPL", between=("0", "~"), limit=1)
    calls = {
        "ReadTicks": lambda: read(table=SETTINGS["TABLE_NAME"], fields={"timestamp": "S"}),
        "ReadAlerts": lambda: (
            read(table=SETTINGS["ALERTS_TABLE_NAME"], fields={"alert_id": "S"}),
            reading.read_alerted_symbols(client("dynamodb"), table=SETTINGS["ALERTS_TABLE_NAME"]),
        ),
        "CountRejectsAndFailedBatches": lambda: [
            reading.count_objects(client("s3"), bucket=SETTINGS["BUCKET_NAME"], prefix=prefix)
            for prefix in ("rejected-data/dt=2026-11-20/", "aws/lambda/")
        ],
    }

    with pytest.raises(ClientError, match=r"AccessDenied"):
        calls.pop(sid)()
    for call in calls.values():
        call()


def test_policy_does_not_list_the_archive(become_user_with: Callable[[dict[str, Any]], None]) -> None:
    become_user_with(rendered("scripts/policies/dashboard.json", SETTINGS))
    s3 = reading.make_client("s3", region="us-east-1")
    with pytest.raises(ClientError, match="AccessDenied"):
        reading.count_objects(s3, bucket=SETTINGS["BUCKET_NAME"], prefix="raw-data/")
