"""The settings of the page, its calls to AWS, and what to do when a call fails."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from stream_stock_data import CREDENTIALS, HERE, CannotRun, load_settings, parse_symbols, setting

SCANNED_PAGES = 4  # of 1 MB, of the alerts table: where symbols come from that nobody configured
CALLS_AT_ONCE = 8


@dataclass(frozen=True)
class Settings:
    """The settings that concern the page, as .env.example explains them."""

    region: str
    table: str
    alerts_table: str
    bucket: str
    symbols: tuple[str, ...]
    short: int
    long: int

    @property
    def place(self) -> str:
        """Where the tables are, in words."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
        return f"at `{endpoint}`" if endpoint else f"of AWS in {self.region}"


def read_settings() -> Settings:
    """The settings of .env and of the environment, the latter winning.

    Raises:
        CannotRun: one of them cannot be.
    """
    load_settings(HERE / ".env")
    symbols = setting("STOCK_SYMBOLS", setting("STOCK_SYMBOL", "AAPL"))
    try:
        short, long = int(setting("SMA_SHORT", "5")), int(setting("SMA_LONG", "20"))
    except ValueError as error:
        raise CannotRun(f"SMA_SHORT, SMA_LONG: {error}") from None
    if not 0 < short < long:
        raise CannotRun(f"SMA_SHORT ({short}) has to be above 0 and smaller than SMA_LONG ({long})")
    return Settings(
        region=setting("AWS_REGION", "us-east-1"),
        table=setting("TABLE_NAME", "stock-market-data"),
        alerts_table=setting("ALERTS_TABLE_NAME", "stock-trend-alerts"),
        bucket=setting("BUCKET_NAME", "stock-market-data-bucket-{account}-{region}"),
        symbols=tuple(parse_symbols(symbols, origin="STOCK_SYMBOLS")),
        short=short,
        long=long,
    )


def make_client(service: str, *, region: str) -> Any:
    """A client of a new session, which reads the credentials anew."""
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
    key: str,
    fields: Sequence[str],
    after: str = "",
    between: tuple[str, str] | None = None,
    limit: int,
) -> tuple[list[dict[str, Any]], bool]:
    """A symbol's items, newest first, and whether these are all that the condition names.

    Args:
        key: the table's sort key.
        fields: what to read of an item. DynamoDB charges for whole items all the same.
        after: only items with a sort key above this one.
        between: only items with a sort key from the one to the other.
        limit: so many items at the most.
    """
    names = {f"#{number}": name for number, name in enumerate(dict.fromkeys((key, *fields)))}
    condition, values = "symbol = :symbol", {":symbol": {"S": symbol}}
    if between:
        condition += " AND #0 BETWEEN :first AND :last"
        values |= {":first": {"S": between[0]}, ":last": {"S": between[1]}}
    elif after:
        condition += " AND #0 > :after"
        values[":after"] = {"S": after}
    request = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": values,
        "ProjectionExpression": ", ".join(names),
        "ExpressionAttributeNames": names,
        "ScanIndexForward": False,
    }
    items: list[dict[str, Any]] = []
    while True:  # a page has 1 MB at the most
        page = dynamodb.query(**request, Limit=limit - len(items))
        items += [
            {
                name: Decimal(*value.values()) if "N" in value else next(iter(value.values()))
                for name, value in item.items()
            }
            for item in page["Items"]
        ]
        if "LastEvaluatedKey" not in page:
            return items, True
        if len(items) >= limit:
            return items, False
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def read_alerted_symbols(dynamodb: Any, *, table: str) -> list[str]:
    """The symbols that have alerts, as far as SCANNED_PAGES megabytes of the table tell."""
    symbols: set[str] = set()
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="symbol")
    for page in itertools.islice(pages, SCANNED_PAGES):
        symbols |= {item["symbol"]["S"] for item in page["Items"]}
    return sorted(symbols)


def count_objects(s3: Any, *, bucket: str, prefix: str) -> tuple[int, bool]:
    """The number of objects under a prefix, up to 1,000, and whether there are more."""
    answer = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return answer.get("KeyCount", 0), answer.get("IsTruncated", False)


def error_code(error: Exception) -> str:
    """The code of AWS's answer; where there is none, the name of botocore's exception."""
    return getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__


def explain(error: Exception, settings: Settings) -> str:
    """What to do about an error of AWS, in Markdown."""
    code = error_code(error)
    if code == "ResourceNotFoundException":
        return (
            f"**No such table**: `{settings.table}` or `{settings.alerts_table}` {settings.place}. Run "
            "`scripts/setup.sh`, or `scripts/run_local.sh` to try everything without an account. If it runs "
            "already, give this page its address in `AWS_ENDPOINT_URL`."
        )
    if "Expired" in code or "Expired" in str(error):
        return "**The AWS credentials have expired.** Log in again: `aws sso login`, or new keys."
    if code == "ProfileNotFound" or CREDENTIALS.search(code):
        return (
            f"**AWS does not take the credentials, or there are none** ({code}). Look at `aws configure "
            "list`; `aws configure` or `aws sso login` puts it right."
        )
    if code in ("AccessDenied", "AccessDeniedException"):
        return (
            "**Not allowed to read.** The policy `scripts/policies/dashboard.json` is what this page needs. "
            f"AWS says: `{error.response['Error'].get('Message', '').replace('`', '')}`"
        )
    if isinstance(error, BotoCoreError):
        return f"**Cannot reach AWS** {settings.place}: check `AWS_REGION`, `AWS_ENDPOINT_URL`, the network."
    return f"**DynamoDB answers**: `{str(error).replace('`', '')}`"
