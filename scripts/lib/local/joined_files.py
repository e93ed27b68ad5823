"""Makes a query of MiniStack's Athena read one file a day instead of one a batch of ticks.

For each file that it reads, DuckDB sets 32 MB aside. So after some 600 batches, ten minutes of ticks, a
machine with 24 GB refused every query of the archive.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

ENDING = ".json.gz"  # of the objects that ProcessStockData writes: lines of JSON


def read_joined_files(athena: Any) -> None:
    """Replace `_table_relation` of `ministack.services.athena`, which writes the FROM of a query."""
    table_relation = athena._table_relation

    def joined_relation(table: dict[str, Any], files: list[str]) -> str:
        relation = table_relation(table, join_files(files))
        # DuckDB looks for columns in the first 20,480 lines of a file. A joined file may have more.
        return relation.replace("union_by_name = true", "union_by_name = true, sample_size = -1", 1)

    athena._table_relation = joined_relation


def join_files(files: list[str]) -> list[str]:
    """Join the files of each folder that end in .json.gz, and leave others alone. Returns what is there then.

    Gzip files one after the other are a gzip file: https://www.rfc-editor.org/rfc/rfc1952#section-2.2
    """
    lines = [path for path in map(Path, files) if path.name.endswith(ENDING)]
    joined = []
    for folder, parts in groupby(sorted(lines), lambda path: path.parent):
        joined.append(folder / f"joined{ENDING}")
        with joined[-1].open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
    return [*map(str, joined), *(file for file in files if not file.endswith(ENDING))]
