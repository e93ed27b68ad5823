"""The dashboard in a real Chromium over a real MiniStack, whose user has the dashboard's own policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from selenium.webdriver.common.keys import Keys

from dashboard_parts import reading
from helpers.checkout import as_list, rendered
from helpers.dashboard_page import SETTINGS, Page, Tables, dashboard, eventually, need_browser, settled
from helpers.emulator import aws_environment, ministack

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
    with dashboard(directory, tables.endpoint, **settings) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    need_browser()
    page = Page(height=700)
    try:
        page.driver.get(address)
        eventually(lambda: page.row("AAPL") and page.times()[0])
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
    whole = settled(page.times)
    eventually(lambda: page.zoom() or page.times() != whole)
    zoomed = settled(page.times)
    main = "document.querySelector('[data-testid=stMain]')"
    page.run(f"{main}.scrollTop = 100")

    (timestamp,) = tables.put_ticks("^GSPC", [123.45], source="simulated")
    eventually(lambda: float(page.row("^GSPC")[1]) == 123.45)
    tables.put_alert("^GSPC", timestamp, "SELL", "123.45")
    eventually(lambda: page.table(1)[0][1:3] == ["^GSPC", "▼ SELL"])
    tables.put_alert("^GSPC", timestamp, "ANOMALY", "123.45")  # its key sorts before that of the other one
    eventually(lambda: {row[2] for row in page.table(1)} >= {"◆ ANOMALY"})

    assert page.row("^GSPC")[-1] == "◆ anomaly"
    assert page.text("h2").startswith("^GSPC")
    assert page.times() == zoomed
    assert page.run(f"return {main}.scrollTop") == 100
    assert page.run("return window.notReloaded")
    assert page.complaints() == []
    assert page.hosts() == {"127.0.0.1"}


def test_page_opened_with_symbols_in_its_address_shows_them(page: Page, address: str) -> None:
    page.driver.get(f"{address}/?symbol=BRK-B&with=TSLA")
    eventually(lambda: page.text("h2").startswith("BRK-B"))
    eventually(lambda: page.row("TSLA") and page.row("TSLA")[5] == "no ticks")


def test_page_without_tables_says_so_and_recovers_by_itself(page: Page, tables: Tables, address: str) -> None:
    page.driver.get(address)
    eventually(lambda: page.row("AAPL"))
    tables.dynamodb.delete_table(TableName="stock-market-data")
    eventually(lambda: "No such table" in page.text("[data-testid=stAlert]"))
    assert "scripts/setup.sh" in page.text("[data-testid=stAlert]")

    tables.dynamodb.create_table(**rendered("scripts/resources/ticks_table.json", SETTINGS))
    eventually(lambda: "No ticks yet" in page.text("[data-testid=stAlert]"))
    eventually(lambda: "python stream_stock_data.py" in page.text("[data-testid=stAlert]"))
    tables.put_ticks("AAPL", [77.0], newest=datetime.now(UTC), source="simulated")
    eventually(lambda: page.row("AAPL")[1:2] == ["77"])
    eventually(lambda: page.text("[data-testid=stAlert]") == "")


# --- The policy -----------------------------------------------------------------------------------


@pytest.fixture
def become_user_with(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """become_user_with(policy): the clients of this test have this policy only."""

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
    read = partial(reading.read_items, client("dynamodb"), symbol="AAPL", limit=1)
    calls = {
        "ReadTicks": lambda: read(table=SETTINGS["TABLE_NAME"], key="timestamp", fields=["price"]),
        "ReadAlerts": lambda: (
            read(table=SETTINGS["ALERTS_TABLE_NAME"], key="alert_id", fields=["price"]),
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
