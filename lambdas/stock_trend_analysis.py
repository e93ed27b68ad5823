"""StockTrendAnalysis: find SMA crossovers and anomalies in the ticks just stored, and alert once on each.

Paste this file into the Lambda console as lambda_function.py (Python 3.13, nothing to add) and give it the
stream of the ticks table as trigger, with "Report batch item failures" on. Every new tick is judged at its
own place among the ticks before it: batch borders, redelivery and lateness do not change a verdict. An alert
is stored, published, then marked as sent: a retry publishes what is still pending, and nothing else. A
message can repeat only if the function dies, or an answer is lost, between Publish and the mark.

Environment: TABLE_NAME, ALERTS_TABLE_NAME, SNS_TOPIC_ARN; SMA_SHORT, SMA_LONG (ticks, default 5 and 20),
ANOMALY_PERCENT (5), ALERT_MAX_AGE_MINUTES (15, 0: no limit), ALERT_COOLDOWN_MINUTES (0), RETENTION_DAYS (30).
"""

import json
import logging
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

TABLE_NAME, ALERTS_TABLE_NAME = os.environ["TABLE_NAME"], os.environ["ALERTS_TABLE_NAME"]
SNS_TOPIC_ARN = os.environ["SNS_TOPIC_ARN"]
if not (TABLE_NAME and ALERTS_TABLE_NAME and SNS_TOPIC_ARN):
    raise KeyError("TABLE_NAME, ALERTS_TABLE_NAME or SNS_TOPIC_ARN is empty: set all in the configuration")
SMA_SHORT, SMA_LONG = int(os.environ.get("SMA_SHORT") or "5"), int(os.environ.get("SMA_LONG") or "20")
if not 0 < SMA_SHORT < SMA_LONG:
    raise ValueError(f"SMA_SHORT must be above 0 and below SMA_LONG, not {SMA_SHORT} and {SMA_LONG}")
ANOMALY_PERCENT = Decimal(os.environ.get("ANOMALY_PERCENT") or "5")
MAX_AGE_SECONDS = float(os.environ.get("ALERT_MAX_AGE_MINUTES") or "15") * 60
COOLDOWN = timedelta(minutes=float(os.environ.get("ALERT_COOLDOWN_MINUTES") or "0"))
RETENTION_SECONDS = int(os.environ.get("RETENTION_DAYS") or "30") * 86_400

UNLESS_THERE = {"ConditionExpression": "attribute_not_exists(alert_id)"}
UNLESS_THERE["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
CROSSED = f"The average of the last {SMA_SHORT} ticks has crossed {{}} that of the last {SMA_LONG}."
REASONS = {"BUY": CROSSED.format("above"), "SELL": CROSSED.format("below")}
REASONS["ANOMALY"] = f"The price has moved more than {ANOMALY_PERCENT}% from the previous close."
LOOKBACK = 500  # ticks, in search of the last one at which the averages differed
EXACT = Context(prec=500)  # adds up any numbers that DynamoDB holds without rounding
STORABLE = Context(prec=38)
THROTTLED = ("ProvisionedThroughput", "RequestLimit", "Throttl")  # how the error codes begin

logger = logging.getLogger()
logger.setLevel(logging.INFO)
retries = {"mode": "standard", "total_max_attempts": 4}
dynamodb = boto3.client("dynamodb", config=Config(retries=retries, connect_timeout=2, read_timeout=5))
# A Publish without an answer may have been sent: whether it is repeated is for the alert's status to say.
sns = boto3.client("sns", config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5))


def anomaly_id(item: dict[str, dict]) -> str | None:
    """The alert_id of a change beyond the threshold: the exchange's date and the direction. Else None."""
    change_percent = Decimal(item["change_percent"]["N"])
    if abs(change_percent) <= ANOMALY_PERCENT:
        return None
    instant = datetime.fromisoformat(item["timestamp"]["S"])
    try:
        instant = instant.astimezone(ZoneInfo(item.get("exchange_timezone", {"S": "UTC"})["S"]))
    except (KeyError, ValueError, OSError) as error:
        logger.warning("unknown time zone, taking the date in UTC: %s", error)
    return f"{instant.date()}#ANOMALY#{'up' if change_percent > 0 else 'down'}"


class History:
    """A symbol's ticks up to a timestamp, newest first, read only as far back as they are asked for."""

    def __init__(self, symbol: str, until: str, page_size: int) -> None:
        self.items: list[dict[str, dict]] = []
        self.prices: list[Decimal] = []
        self.is_complete = False
        self.query = {"TableName": TABLE_NAME, "Limit": page_size, "ConsistentRead": True}
        self.query["ScanIndexForward"] = False
        self.query["KeyConditionExpression"] = "symbol = :symbol AND #timestamp <= :until"
        self.query["ProjectionExpression"] = "symbol, #timestamp, price, change_percent, exchange_timezone"
        self.query["ExpressionAttributeNames"] = {"#timestamp": "timestamp"}
        self.query["ExpressionAttributeValues"] = {":symbol": {"S": symbol}, ":until": {"S": until}}

    def reach(self, count: int) -> bool:
        """Read until there are so many ticks; False if the table has fewer."""
        while len(self.items) < count and not self.is_complete:
            page = dynamodb.query(**self.query)
            ticks = [
                i for i in page["Items"] if "N" in i.get("price", {}) and "N" in i.get("change_percent", {})
            ]
            self.items += ticks
            self.prices += [Decimal(tick["price"]["N"]) for tick in ticks]
            self.is_complete = "LastEvaluatedKey" not in page
            self.query["ExclusiveStartKey"] = page.get("LastEvaluatedKey")
            self.query["Limit"] *= 2
        return len(self.items) >= count

    def places(self, oldest: str) -> dict[str, int]:
        """The place of each tick by its timestamp, as far back as the oldest that is asked for."""
        while self.reach(len(self.items) + 1) and self.items[-1]["timestamp"]["S"] > oldest:
            pass
        return {item["timestamp"]["S"]: place for place, item in enumerate(self.items)}

    def spread(self, place: int) -> Decimal | None:
        """Short minus long average, times both lengths so that it is exact; None with too few ticks."""
        if not self.reach(place + SMA_LONG):
            return None
        prices = self.prices[place : place + SMA_LONG]
        return SMA_LONG * sum(prices[:SMA_SHORT]) - SMA_SHORT * sum(prices)

    def crossover(self, place: int) -> str | None:
        """BUY if the short average comes to lie above the long one at this tick, SELL if below, else None.

        What counts is the side it was on last: a touch that turns back is none. If the averages were equal
        for LOOKBACK ticks, or for as many as there are, leaving equality is one.
        """
        spread, before = self.spread(place), self.spread(place + 1)
        if not spread or before is None:
            return None
        for earlier in range(place + 2, place + 1 + LOOKBACK):
            if before or (further := self.spread(earlier)) is None:
                break
            before = further
        return None if spread * before > 0 else "BUY" if spread > 0 else "SELL"

    def alerts(self, place: int) -> list[dict[str, Any]]:
        """The alerts on a tick: its crossover, and its anomaly unless the tick before had the same."""
        symbol, timestamp = (self.items[place][name]["S"] for name in ("symbol", "timestamp"))
        price, change_percent = self.prices[place], Decimal(self.items[place]["change_percent"]["N"])
        signal, anomaly = self.crossover(place), anomaly_id(self.items[place])
        keys = {signal: f"{timestamp}#{signal}"} if signal else {}
        if anomaly and not (self.reach(place + 2) and anomaly_id(self.items[place + 1]) == anomaly):
            keys["ANOMALY"] = anomaly
        alert = {"symbol": symbol, "timestamp": timestamp, "price": price, "change_percent": change_percent}
        text = f"{symbol} at {price} ({change_percent:+.2f}% since the previous close)"
        for name, length in (("sma_short", SMA_SHORT), ("sma_long", SMA_LONG)):
            if keys and self.reach(place + length):
                alert[name] = STORABLE.plus(round(sum(self.prices[place : place + length]) / length, 4))
                text += f", SMA-{length} {alert[name]}"
        ids = [{"signal": signal, "alert_id": alert_id} for signal, alert_id in keys.items()]
        return [alert | each | {"message": f"{each['signal']} {text}"} for each in ids]


def cools_down(alert: dict[str, Any]) -> bool:
    """True within ALERT_COOLDOWN_MINUTES after a crossover of the symbol that is or will be published."""
    start = datetime.fromisoformat(alert["timestamp"]) - COOLDOWN
    since = f"{start:%Y-%m-%dT%H:%M:%S}.{start.microsecond // 1000:03}Z~"  # ~: after the alerts of that time
    values = {":symbol": alert["symbol"], ":since": since, ":until": alert["timestamp"]}
    pages = dynamodb.get_paginator("query").paginate(
        TableName=ALERTS_TABLE_NAME,
        ConsistentRead=True,
        KeyConditionExpression="symbol = :symbol AND alert_id BETWEEN :since AND :until",
        ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
    )
    earlier = [(item["signal"]["S"], item["status"]["S"]) for page in pages for item in page["Items"]]
    return any(signal != "ANOMALY" and status in ("pending", "sent") for signal, status in earlier)


def store(alert: dict[str, Any], image: dict[str, dict]) -> str:
    """Put an alert, its status decided here once, unless it is there; returns its status in the table."""
    age = time.time() - datetime.fromisoformat(image.get("fetched_at", image["timestamp"])["S"]).timestamp()
    status = "historical" if "history" in image or 0 < MAX_AGE_SECONDS < age else "pending"
    if status == "pending" and COOLDOWN and alert["signal"] != "ANOMALY" and cools_down(alert):
        status = "muted"
    expires_at = int(datetime.fromisoformat(alert["timestamp"]).timestamp()) + RETENTION_SECONDS
    fields = alert | {"status": status, "expires_at": expires_at}
    item = {name: {"S" if isinstance(value, str) else "N": str(value)} for name, value in fields.items()}
    try:
        dynamodb.put_item(TableName=ALERTS_TABLE_NAME, Item=item, **UNLESS_THERE)
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        return error.response["Item"]["status"]["S"]
    return status


def publish(alert: dict[str, Any]) -> None:
    """Send an alert to all subscribers, then mark it as sent."""
    text = f"{alert['message']}. {alert['timestamp'][:16].replace('T', ' ')} UTC. No investment advice."
    texts = {"default": text, "sms": text, "email": f"{text}\n\n{REASONS[alert['signal']]}\n"}
    texts |= dict.fromkeys(("sqs", "lambda", "http", "https"), json.dumps(alert, default=float))
    message = {"Subject": re.sub("[^ -~]", "?", alert["message"])[:99], "Message": json.dumps(texts)}
    attributes = {name: {"DataType": "String", "StringValue": alert[name]} for name in ("symbol", "signal")}
    sns.publish(TopicArn=SNS_TOPIC_ARN, MessageStructure="json", MessageAttributes=attributes, **message)
    dynamodb.update_item(
        TableName=ALERTS_TABLE_NAME,
        Key={name: {"S": alert[name]} for name in ("symbol", "alert_id")},
        UpdateExpression="SET #status = :sent",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":sent": {"S": "sent"}},
    )


def judge(symbol: str, new: dict[str, tuple[int, dict]]) -> tuple[list[int], int]:
    """Judge new ticks (position and image by timestamp) in time order; positions left, alerts published."""
    todo, published = sorted(new), 0
    history = History(symbol, todo[-1], len(todo) + SMA_LONG)
    try:
        with localcontext(EXACT):
            places = history.places(todo[0])
            if not history.reach(SMA_LONG + 1):
                logger.info("%s: %d of %d ticks", symbol, len(history.items), SMA_LONG + 1)
            while todo:
                if (place := places.get(todo[0])) is None:
                    logger.warning("%s %s: no longer in the table, or without a price", symbol, todo[0])
                for alert in history.alerts(place) if place is not None else ():
                    status = store(alert, new[todo[0]][1])
                    logger.info("%s: %s", status, alert["message"])
                    if status == "pending":
                        publish(alert)
                        published += 1
                del todo[0]
    except (ClientError, ConnectionError, HTTPClientError) as error:
        status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if status < 500 and not error.response["Error"]["Code"].startswith(THROTTLED):
            raise
        logger.warning("%s: %s", symbol, error)
    return [new[timestamp][0] for timestamp in todo], published


def report(**metrics: int) -> None:
    """Log a line a batch, and print the one that CloudWatch makes metrics from (embedded metric format)."""
    logger.info(", ".join(f"{name} {value}" for name, value in metrics.items()))
    units = [{"Name": name, "Unit": "Milliseconds" if name == "Lag" else "Count"} for name in metrics]
    directive = {"Namespace": "StockMarketStreaming", "Dimensions": [["FunctionName"]], "Metrics": units}
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": metadata, "FunctionName": "StockTrendAnalysis", **metrics}))


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Alert on a DynamoDB stream batch; returns, as batchItemFailures, the record to go on from, if any."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all("dynamodb" in record for record in records):
        raise ValueError("not a DynamoDB stream event (Records[].dynamodb): add the ticks table as trigger")
    new: dict[str, dict[str, tuple[int, dict]]] = {}
    live = []
    for position, record in enumerate(records):
        if record["eventName"] == "INSERT":
            image = record["dynamodb"]["NewImage"]
            symbol, timestamp = image["symbol"]["S"], image["timestamp"]["S"]
            new.setdefault(symbol, {}).setdefault(timestamp, (position, image))
            live += [] if "history" in image else [timestamp]
    with ThreadPoolExecutor(max_workers=8) as pool:
        judged = list(pool.map(judge, new, new.values()))
    first = min((position for positions, _ in judged for position in positions), default=len(records))
    lag = int((time.time() - datetime.fromisoformat(min(live)).timestamp()) * 1000) if live else 0
    alerts = sum(published for _, published in judged)
    report(Records=len(records), Alerts=alerts, Retries=len(records) - first, Lag=lag)
    again = [record["dynamodb"]["SequenceNumber"] for record in records[first : first + 1]]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}
