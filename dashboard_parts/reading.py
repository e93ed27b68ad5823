"""The page's settings, its calls to AWS, and what to do when a call fails."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stream_stock_data import CREDENTIALS, HERE, CannotRun, load_settings, parse_symbols, setting

CALLS_AT_ONCE = 8
SCAN_PAGES = 4  # of 1 MB each, of the alerts table
COUNTED_OBJECTS = 1000  # S3 lists so many in one call


@dataclass(frozen=True)
class Settings:
    """The settings that the page needs. .env.example explains them."""

    region: str
    table: str
    alerts_table: str
    bucket: str
    symbols: tuple[str, ...]
    short: int
    long: int

    @property
    def endpoint(self) -> str:
        """The address of the tables, or nothing for AWS's own."""
        return os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL", "")

    @property
    def location(self) -> str:
        """Where the tables are, in words."""
        return f"at `{self.endpoint}`" if self.endpoint else f"of AWS in {self.region}"


def read_settings() -> Settings:
    """Read the settings from the environment and from .env. The environment wins.

    Raises:
        CannotRun: a setting has a wrong value.
    """
    load_settings(HERE / ".env")
    symbols = setting("STOCK_SYMBOLS", setting("STOCK_SYMBOL", "AAPL"))
    try:
        short, long = int(setting("SMA_SHORT", "5")), int(setting("SMA_LONG", "20"))
    except ValueError as error:
        raise CannotRun(f"SMA_SHORT, SMA_LONG: {error}") from None
    if not 0 < short < long:
        raise CannotRun(f"SMA_SHORT ({short}) must be above 0 and smaller than SMA_LONG ({long})")
    return Settings(
        region=setting("AWS_REGION", "us-east-1"),
        table=setting("TABLE_NAME", "stock-market-data"),
        alerts_table=setting("ALERTS_TABLE_NAME", "stock-trend-alerts"),
        bucket=setting("BUCKET_NAME", "stock-market-data-bucket-{account}-{region}"),
        symbols=tuple(parse_symbols(symbols, origin="STOCK_SYMBOLS")),
        short=short,
        long=long,
    )


def is_symbol(text: str) -> bool:
    """Whether a text may be a symbol, as it is typed into the page or comes by its address."""
    return bool(re.fullmatch(r"[^\s,]{1,32}", text)) and text.isprintable()


def make_client(service: str, *, region: str) -> Any:
    """Make a client in a new session, so that it finds the credentials of now."""
    config = Config(
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=CALLS_AT_ONCE,
        parameter_validation=False,  # saves CPU time
    )
    return boto3.session.Session(region_name=region).client(service, config=config)


def read_items(
    dynamodb: Any,
    *,
    table: str,
    symbol: str,
    fields: dict[str, str],
    between: tuple[str, str],
    limit: int,
) -> tuple[list[dict[str, Any]], bool]:
    """Read items of one symbol.

    Args:
        fields: the attributes to read, the table's sort key first, with their types in DynamoDB. Values of
            other types are left out, because ProcessStockData does not check all attributes.
        between: the first and the last sort key, both included.
        limit: the most items to read.

    Returns:
        The items, newest first, and whether they are all that lie between.
    """
    names = {f"#{number}": name for number, name in enumerate(fields)}
    request = {
        "TableName": table,
        "KeyConditionExpression": "symbol = :symbol AND #0 BETWEEN :first AND :last",
        "ExpressionAttributeValues": {
            ":symbol": {"S": symbol},
            ":first": {"S": between[0]},
            ":last": {"S": between[1]},
        },
        "ProjectionExpression": ", ".join(names),
        "ExpressionAttributeNames": names,
        "ScanIndexForward": False,
    }
    items: list[dict[str, Any]] = []
    while True:  # DynamoDB answers with 1 MB at most
        page = dynamodb.query(**request, Limit=limit - len(items))
        for item in page["Items"]:
            values = {name: item[name][kind] for name, kind in fields.items() if kind in item.get(name, ())}
            items.append({n: Decimal(value) if fields[n] == "N" else value for n, value in values.items()})
        if "LastEvaluatedKey" not in page:
            return items, True
        if len(items) >= limit:
            return items, False
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def read_alerted_symbols(dynamodb: Any, *, table: str) -> list[str]:
    """Find the symbols that have alerts, in the first SCAN_PAGES pages of the table."""
    symbols: set[str] = set()
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="symbol")
    for page in itertools.islice(pages, SCAN_PAGES):
        symbols |= {item["symbol"]["S"] for item in page["Items"]}
    return sorted(symbols)


def count_objects(s3: Any, *, bucket: str, prefix: str) -> int:
    """Count the objects under a prefix, up to COUNTED_OBJECTS."""
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("KeyCount", 0)


def error_code(error: Exception) -> str:
    """The code in AWS's answer, or the name of botocore's exception when there was no answer."""
    return getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__


def is_credentials_error(error: Exception) -> bool:
    """Whether AWS refused the credentials, or there are none."""
    return bool(CREDENTIALS.search(error_code(error)))


def explain(error: Exception, settings: Settings) -> str:
    """Say what an error of AWS means and what to do about it, in Markdown."""
    code = error_code(error)
    if code == "ResourceNotFoundException":
        return (
            f"**No such table**: `{settings.table}` or `{settings.alerts_table}` {settings.location}. Run "
            "`scripts/setup.sh`, or `scripts/run_local.sh` to try everything without an account. If that is "
            "running already, start this page with its address in `AWS_ENDPOINT_URL`."
        )
    if "Expired" in code or "Expired" in str(error):
        return "**The AWS credentials have expired.** Log in again with `aws sso login`, or set new keys."
    if code == "ProfileNotFound" or is_credentials_error(error):
        return (
            f"**AWS does not accept the credentials, or there are none** ({code}). `aws configure list` "
            "shows what is set. `aws configure` or `aws sso login` sets new ones."
        )
    if code in ("AccessDenied", "AccessDeniedException"):
        return (
            "**Not allowed to read.** This page needs the policy `scripts/policies/dashboard.json`. "
            f"AWS says: `{error.response['Error'].get('Message', '').replace('`', '')}`"
        )
    if isinstance(error, BotoCoreError):
        return (
            f"**Cannot reach AWS** {settings.location}. Check the network, `AWS_REGION`, `AWS_ENDPOINT_URL`."
        )
    if str(error).startswith("Invalid endpoint"):
        return f"**No such address** {settings.location}. `AWS_ENDPOINT_URL` begins with `http://` or `https://`."
    words = f"`{type(error).__name__}: {str(error)[:300].replace('`', '')}`"
    return (
        f"**DynamoDB answers**: {words}"
        if isinstance(error, ClientError)
        else f"**The page cannot read**: {words}"
    )
