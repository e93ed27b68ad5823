#!/usr/bin/env python3
"""What a month of 500 symbols costs to keep and to query in three layouts: one command, no account.

    .venv/bin/python bench/athena.py

Makes one trading day (780 ticks a symbol, one every 30 s) of the simulated market through build_tick, and
writes it as: one plain JSON object a record, as tutorials do; gzip objects of 500 records, one poll, made by
the code of ProcessStockData; and the Parquet files of athena/export_parquet.sql, in its 50 buckets. Every day
of the month is alike: bytes, seconds and the objects of the first two are times 21. Of the first layout
20,000 objects are written, and scaled: a day has 390,000. The query is the month's highest price of one
symbol, run by DuckDB over the real files. Athena reads each object with one GET or more: one is counted.
Ends with status 1 if a target is missed. Takes half a minute.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench"), str(ROOT / "scripts/lib/archive")]
os.environ |= {"TABLE_NAME": "-", "BUCKET_NAME": "-", "AWS_DEFAULT_REGION": "us-east-1"}

import duckdb  # noqa: E402
import sqlglot  # noqa: E402
from local_query import translate  # noqa: E402
from prices import USD  # noqa: E402

from lambdas.process_stock_data import Tick, build_archive, parse_tick  # noqa: E402
from sources.simulated import _Walk  # noqa: E402
from stream_stock_data import build_tick  # noqa: E402

SYMBOLS, TICKS_A_DAY, DAYS = 500, 780, 21
BATCH = 500  # records a batch, as scripts/resources/kinesis_mapping.json
PLAIN_OBJECTS = 20_000
DAY = "2026-11-20"
SYMBOL = "S0250"
TERABYTE, LEAST_BYTES = 2**40, 10 * 2**20


def lines_of_a_day() -> list[str]:
    """The day's records, in the order in which they come: all symbols, then all symbols 30 s later."""
    walks = [_Walk(f"S{number:04}", seed=6) for number in range(SYMBOLS)]
    start = datetime.fromisoformat(f"{DAY}T14:30:00+00:00")
    lines = []
    for number in range(TICKS_A_DAY):
        at = start + timedelta(seconds=30 * number)
        for place, walk in enumerate(walks):
            quote = walk.quote(at + timedelta(milliseconds=place), shock_chance=0)
            lines.append(json.dumps(build_tick(quote, source="yahoo", fetched_at=at + timedelta(seconds=1))))
    return lines


def write_plain(lines: list[str], folder: Path) -> None:
    """One object a record, all in one prefix."""
    (folder / "plain").mkdir()
    for number, line in enumerate(random.Random(6).sample(lines, PLAIN_OBJECTS)):
        (folder / f"plain/{number}.json").write_text(line)


def write_ours(lines: list[str], folder: Path) -> None:
    """The objects that the function makes of full batches."""
    for start in range(0, len(lines), BATCH):
        ticks, records = [], []
        for place, line in enumerate(lines[start : start + BATCH]):
            sequence = {"sequenceNumber": f"{start + place:056d}"}
            records.append({"eventID": "shardId-000000000000:0", "kinesis": sequence})
            tick, text = parse_tick(base64.b64encode(line.encode()).decode())
            ticks.append(Tick(place, place, (tick["symbol"], tick["timestamp"]), {}, text))
        for _, key, body in build_archive(ticks, records):
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(body)


def write_parquet(folder: Path) -> None:
    """The SELECT of the export, in as many buckets as the table has. Within one the ticks have no order."""
    export = sqlglot.parse_one((ROOT / "athena/export_parquet.sql").read_text(), read="athena")
    select = translate(export.expression.sql(dialect="athena"), [f"'{DAY}'", f"'{DAY}'"])
    source = f"read_json_auto('{folder}/raw-data/*/*.gz', hive_types = {{'dt': VARCHAR}})"
    (folder / "parquet").mkdir()
    with duckdb.connect() as connection:
        select = select.replace("FROM stock_data_table ", f"FROM {source} ")
        connection.execute(f"CREATE TABLE ticks AS {select}")
        for bucket in range(50):
            connection.execute(
                f"COPY (SELECT * FROM ticks WHERE hash(symbol) % 50 = {bucket}"
                " ORDER BY hash(symbol, timestamp))"
                f" TO '{folder}/parquet/{bucket:02}.parquet' (FORMAT parquet, CODEC zstd)"
            )


def seconds_of_query(relation: str) -> float:
    """The query's time, in a fresh DuckDB."""
    began = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(f"SELECT max(price) FROM {relation} WHERE symbol = '{SYMBOL}'").fetchall()
    return time.perf_counter() - began


def size_of(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def main() -> int:
    missed = []

    def check(what: str, value: float, limit: float, unit: str) -> None:
        if value < limit:
            missed.append(what)
        print(f"  {'ok    ' if value >= limit else 'MISSED'}  {what}: {value:.3g} {unit}, at least {limit:g}")

    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        lines = lines_of_a_day()
        write_plain(lines, folder)
        write_ours(lines, folder)
        write_parquet(folder)
        scale = len(lines) / PLAIN_OBJECTS
        plain, ours = list(folder.glob("plain/*")), list(folder.glob("raw-data/*/*"))
        parquet = list(folder.glob("parquet/*"))
        with duckdb.connect() as connection:
            bucket = connection.execute(f"SELECT hash('{SYMBOL}') % 50").fetchall()[0][0]
        bucket = folder / f"parquet/{bucket:02}.parquet"
        everything = sum(map(len, lines))
        json_of = "read_json_auto('{}/*')".format
        month = {  # objects, bytes, objects and bytes that the query reads, its seconds
            "an object a record": (
                *(len(lines) * DAYS, everything * DAYS, len(lines) * DAYS, everything * DAYS),
                seconds_of_query(json_of(folder / "plain")) * scale * DAYS,
            ),
            "this archive": (
                *(len(ours) * DAYS, size_of(ours) * DAYS, len(ours) * DAYS, size_of(ours) * DAYS),
                seconds_of_query(json_of(folder / "raw-data/*")) * DAYS,
            ),
            "its Parquet export": (
                *(len(parquet), size_of(parquet) * DAYS, 1, size_of([bucket]) * DAYS),
                seconds_of_query(f"'{bucket}'") * DAYS,
            ),
        }

    print(f"{SYMBOLS} symbols, {TICKS_A_DAY} ticks a day, {DAYS} days: {len(lines) * DAYS:,} ticks\n")
    print(f"{'':40}  to store  to query one symbol")
    print("A month               objects        MB  $ of PUTs       MB  seconds  $ of MB  $ of GETs")
    for name, (objects, size, gets, read, seconds) in month.items():
        scan = max(read, LEAST_BYTES) / TERABYTE * USD["athena_terabyte"]
        print(
            f"{name:19} {objects:9,} {size / 1e6:9,.0f}  {objects * USD['s3_million_puts'] / 1e6:9.2f}"
            f"  {read / 1e6:7,.1f}  {seconds:7.2f} {scan:8.5f}  {gets * USD['s3_million_gets'] / 1e6:9.6f}"
        )
    plain, ours, parquet = month.values()
    print("\nTargets")
    check("fewer objects than one a record", plain[0] / ours[0], 100, "times")
    check("fewer bytes than one a record", plain[1] / ours[1], 4, "times")
    check("export, fewer bytes for one symbol", ours[3] / parquet[3], 10, "times")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
