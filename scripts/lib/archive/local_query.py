"""Prints an Athena query as the local emulator can run it: in DuckDB's SQL, without views and parameters.

    local_query.py FILE [PARAMETER…]

FILE holds one SELECT in Athena's SQL. Each PARAMETER is the literal for one question mark, in their order.
The emulator's Athena gives a query to DuckDB, which does not have our view and takes the columns from the
lines. So the view stock_ticks becomes a common table expression, and the table gets the columns that no line
has yet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType

ATHENA = Path(__file__).resolve().parents[3] / "athena"
VIEW, TABLE = "stock_ticks", "stock_data_table"
TYPES = {"string": "VARCHAR"}  # where DuckDB's name for a type is not Glue's


def translate(sql: str, parameters: list[str]) -> str:
    """Translates a SELECT from Athena's SQL into DuckDB's.

    Args:
        sql: the query, with question marks.
        parameters: their literals, in order, as Athena takes them for execution parameters.

    Raises:
        ValueError: it is not a SELECT, or the number of question marks differs.
        SqlglotError: it is not Athena's SQL.
    """
    tokens = sqlglot.tokenize(sql, read="athena")
    marks = [token for token in tokens if token.token_type == TokenType.PLACEHOLDER]
    if len(marks) != len(parameters):
        raise ValueError(f"{len(marks)} question marks, but {len(parameters)} parameters")
    for mark, literal in reversed(list(zip(marks, parameters, strict=True))):
        sql = sql[: mark.start] + literal + sql[mark.end + 1 :]
    query = sqlglot.parse_one(sql, read="athena")
    if not isinstance(query, exp.Query):
        raise ValueError("the emulator runs SELECT only: this one needs AWS")
    if any(table.name == VIEW for table in query.find_all(exp.Table)):
        view = sqlglot.parse_one((ATHENA / f"{VIEW}.sql").read_text(), read="athena").expression
        others = query.ctes
        query = query.with_(VIEW, as_=view, append=False)
        query.args["with_"].set("expressions", query.ctes + others)
    return query.transform(_to_duckdb).sql(dialect="duckdb", comments=False)


def _to_duckdb(node: exp.Expression) -> exp.Expression:
    """Translates what sqlglot leaves as it is, and what differs between Athena and the emulator."""
    if _is_at_timezone(node):
        instant, zone = node.expressions
        return exp.AtTimeZone(this=instant, zone=zone)
    if isinstance(node, exp.Try) and _is_at_timezone(node.this):
        # DuckDB's TRY does not catch an unknown zone.
        instant, zone = node.this.expressions
        known = exp.case().when(zone.isin(query="SELECT name FROM pg_timezone_names()"), zone)
        return exp.AtTimeZone(this=instant, zone=known)
    if isinstance(node, exp.CurrentDate):  # Athena's day is in UTC, DuckDB's in this machine's time zone
        return sqlglot.parse_one("CAST(current_timestamp AT TIME ZONE 'UTC' AS DATE)", read="duckdb")
    if isinstance(node, exp.Table) and node.name == TABLE:
        return _typed_table(node.alias_or_name)
    return node


def _is_at_timezone(node: exp.Expression) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() == "at_timezone"


def _typed_table(alias: str) -> exp.Expression:
    """The Glue table with all its columns, also those that no line has yet."""
    table = json.loads((ATHENA / f"{TABLE}.json").read_text())
    columns = table["StorageDescriptor"]["Columns"] + table["PartitionKeys"]
    empty = ", ".join(f'CAST(NULL AS {TYPES.get(c["Type"], c["Type"])}) AS "{c["Name"]}"' for c in columns)
    rows = f"SELECT * FROM {TABLE} UNION ALL BY NAME SELECT {empty} WHERE FALSE"
    return sqlglot.parse_one(rows, read="duckdb").subquery(alias)


if __name__ == "__main__":
    try:
        print(translate(Path(sys.argv[1]).read_text(), sys.argv[2:]))
    except (ValueError, SqlglotError) as error:
        sys.exit(f"error: {sys.argv[1]}: {' '.join(str(error).split())}")
