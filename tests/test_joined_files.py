"""scripts/lib/local/joined_files.py: queries of the emulator's archive find all lines of many files."""

from __future__ import annotations

import gzip
import json

import duckdb
import pytest
from ministack.services import athena

from helpers.checkout import load_module

joined_files = load_module("scripts/lib/local/joined_files.py")
TABLE = {
    "Parameters": {"classification": "json"},
    "PartitionKeys": [{"Name": "dt", "Type": "string"}],
    "StorageDescriptor": {"SerdeInfo": {"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe"}},
}


@pytest.fixture
def archive(tmp_path):
    """Puts files with lines of JSON into the archive of two days; returns their paths."""

    def archive(*batches):
        files = []
        for number, lines in enumerate(batches):
            folder = tmp_path / f"dt=2026-11-{19 + number % 2}"
            folder.mkdir(exist_ok=True)
            files.append(folder / f"{number:05}.json.gz")
            files[-1].write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
        return [str(file) for file in files]

    return archive


@pytest.fixture
def query(monkeypatch):
    """Runs a query of the table as MiniStack does, with so much memory."""
    monkeypatch.setattr(athena, "_table_relation", athena._table_relation)
    joined_files.read_joined_files(athena)

    def query(sql, files, memory="400MB"):
        connection = duckdb.connect(":memory:", config={"memory_limit": memory})
        return connection.execute(sql.format(athena._table_relation(TABLE, files))).fetchall()

    return query


def test_query_of_many_batches_needs_no_more_memory_than_one_of_few(archive, query):
    batches = [[{"symbol": "AAPL", "price": number}] for number in range(60)]
    numbered = "(SELECT *, row_number() OVER (ORDER BY price) FROM {})"
    days = f"SELECT dt, count(*) FROM {numbered} GROUP BY dt ORDER BY dt"
    assert query(days, archive(*batches)) == [("2026-11-19", 30), ("2026-11-20", 30)]


def test_column_that_only_the_last_of_many_lines_has_is_found(archive, query):
    batches = [[{"price": 1}] * 21_000, [], [{"price": 2.5, "source": "replay"}]]
    found = query("SELECT max(price), max(source) FROM {}", archive(*batches))
    assert found == [(2.5, "replay")]


def test_files_of_other_formats_are_left_alone(archive, tmp_path):
    other = tmp_path / "dt=2026-11-19/part.parquet"
    files = archive([{"a": 1}], [{"a": 2}], [{"a": 3}])
    other.write_bytes(b"PAR1")
    joined = joined_files.join_files([*files, str(other)])
    assert sorted(joined) == sorted(
        [str(other), *(str(tmp_path / f"dt=2026-11-{day}/joined.json.gz") for day in (19, 20))]
    )
    assert other.read_bytes() == b"PAR1"
