"""The Glue table fits what the archive holds: same fields, same folders."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from helpers.checkout import ROOT
from stream_stock_data import build_tick

TABLE = json.loads((ROOT / "athena" / "stock_data_table.json").read_text())
COLUMNS = {column["Name"]: column["Type"] for column in TABLE["StorageDescriptor"]["Columns"]}
QUOTE = {
    "symbol": "AAPL",
    "open": 180.0,
    "high": 182.5,
    "low": 179.25,
    "price": 181.0,
    "previous_close": 178.0,
    "volume": 1_000_000,
    "timestamp": "2026-01-05T15:58:22.123Z",
    "currency": "USD",
    "exchange_timezone": "America/New_York",
    "market_state": "REGULAR",
    "delay_minutes": 15,
    "history": True,
    "replayed_from": "2012-01-05",
}
PYTHON_TYPES = {"string": str, "double": (int, float), "bigint": int, "int": int, "boolean": bool}


def test_every_field_of_a_tick_has_a_column_of_its_type():
    tick = build_tick(QUOTE, source="replay", fetched_at=datetime(2026, 1, 5, 15, 58, 23, tzinfo=UTC))
    assert set(tick) == set(COLUMNS)
    for name, value in tick.items():
        assert isinstance(value, PYTHON_TYPES[COLUMNS[name]]), name


def test_days_are_projected_onto_the_folders_of_the_archive():
    parameters = TABLE["Parameters"]
    assert [key["Name"] for key in TABLE["PartitionKeys"]] == ["dt"]
    assert parameters["projection.enabled"] == "true"
    assert parameters["projection.dt.type"] == "date"
    assert parameters["projection.dt.format"] == "yyyy-MM-dd"
    assert parameters["storage.location.template"] == "s3://${BUCKET_NAME}/raw-data/dt=${dt}/"
    assert parameters["storage.location.template"].startswith(TABLE["StorageDescriptor"]["Location"])
    assert re.search(r"\"?raw-data/dt=", (ROOT / "lambdas" / "process_stock_data.py").read_text())


def test_columns_begin_with_the_ten_of_a_plain_quote_in_their_order():
    plain = "symbol open high low price previous_close change change_percent volume timestamp"
    assert list(COLUMNS)[:10] == plain.split()


@pytest.mark.parametrize("name", ["dt", *COLUMNS])
def test_column_names_are_lower_case_as_hive_wants(name):
    assert re.fullmatch(r"[a-z_]+", name)


def test_table_type_is_set_for_athena():
    assert TABLE["TableType"] == "EXTERNAL_TABLE"
    assert (
        TABLE["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"]
        == "org.openx.data.jsonserde.JsonSerDe"
    )
