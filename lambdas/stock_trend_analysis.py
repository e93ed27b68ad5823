"""StockTrendAnalysis: find SMA crossovers and anomalies in new ticks, and send one alert for each.

Paste this file into the Lambda console as lambda_function.py (Python 3.13, nothing to add) and give it the
stream of the ticks table as trigger, with "Report batch item failures" on. Each new tick is compared with
the ticks before it. An alert is stored as pending, published, then marked as sent. A retry publishes what is
still pending. So a message repeats only if the function dies, or an answer is lost, before the mark.

Environment: TABLE_NAME, ALERTS_TABLE_NAME, SNS_TOPIC_ARN; SMA_SHORT, SMA_LONG (ticks, default 5 and 20),
ANOMALY_PERCENT (5), ALERT_MAX_AGE_MINUTES (15, 0: no limit), ALERT_COOLDOWN_MINUTES (0), RETENTION_DAYS (30).
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

REQUIRED = ("TABLE_NAME", "ALERTS_TABLE_NAME", "SNS_TOPIC_ARN")
if missing := [name for name in REQUIRED if not os.environ.get(name)]:
    raise KeyError(f"set {', '.join(missing)} in the function's configuration, as environment variables")
TABLE_NAME, ALERTS_TABLE_NAME, SNS_TOPIC_ARN = (os.environ[name] for name in REQUIRED)
SMA_SHORT, SMA_LONG = int(os.environ.get("SMA_SHORT") or "5"), int(os.environ.get("SMA_LONG") or "20")
if not 0 < SMA_SHORT < SMA_LONG:
    raise ValueError(f"SMA_SHORT must be above 0 and below SMA_LONG, not {SMA_SHORT} and {SMA_LONG}")
ANOMALY_PERCENT = Decimal(os.environ.get("ANOMALY_PERCENT") or "5")
MAX_AGE_SECONDS = float(os.environ.get("ALERT_MAX_AGE_MINUTES") or "15") * 60
COOLDOWN = timedelta(minutes=float(os.environ.get("ALERT_COOLDOWN_MINUTES") or "0"))
RETENTION_SECONDS = int(os.environ.get("RETENTION_DAYS") or "30") * 86_400

LEGEND = f"BUY: the average of {SMA_SHORT} ticks rose above that of {SMA_LONG}. SELL: it fell below."
LOOKBACK = 500  # how many ticks to search for the last one at which the averages differed
NEEDED = "#timestamp, price, change_percent, exchange_timezone, fetched_at, history"  # of each tick
THREADS = 16  # AWS calls in flight
EXACT, STORABLE = Context(prec=500), Context(prec=38)  # for any sum of DynamoDB numbers; for one such number
TIMESTAMP = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
THROTTLED = ("ProvisionedThroughput", "RequestLimit", "Throttl")  # the beginnings of error codes

N, SYMBOL = r"(?:[2-9]|[1-9]\d|1\d\d|200)(?!\w)", r"[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}"
SIDES = "price, change_percent, volume, smaN, moveN or rsiN, with N from 2 to 200"
RULE_PARTS = {  # in their order: how each looks, and the words for it
    rf"\*|{SYMBOL}(?:\s*,\s*{SYMBOL})*": "symbols, such as * or AAPL,MSFT",
    rf"(?:price|change_percent|volume)(?!\w)|(?:sma|move|rsi){N}": f"after the symbols, {SIDES}",
    "[<>]": "> or <",
    rf"-?\d{{1,20}}(?:\.\d{{1,20}})?(?!\w)|sma{N}": "a number, or smaN with N from 2 to 200",
    "$": "the end of the rule",
}

logger = logging.getLogger()
logger.setLevel(logging.INFO)
config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5)
config = config.merge(Config(max_pool_connections=THREADS, user_agent="StockTrendAnalysis"))
config = config.merge(Config(parameter_validation=False))  # saves CPU time
dynamodb = boto3.client("dynamodb", config=config)
# A Publish without an answer may have been sent. So only the alert's status decides whether to repeat it.
sns = boto3.client("sns", config=config.merge(Config(retries={"total_max_attempts": 1})))


def read_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read the answer to a Query as plain JSON. That is much faster than botocore's check of each value."""
    if response_dict["status_code"] == 200:
        customized_response_dict |= json.loads(response_dict["body"])
        response_dict["body"] = b"{}"


dynamodb.meta.events.register("before-parse.dynamodb.Query", read_page)


class Rule(NamedTuple):
    """A rule of ALERT_RULES, such as AAPL,MSFT price > sma50: it tells when it comes to hold."""

    text: str  # AAPL,MSFTprice>sma50, as in alert_id
    words: str  # price > sma50
    symbols: frozenset[str]  # {"*"}: every symbol
    left: tuple[str, int]  # ("price", 0); ("sma", 50)
    operator: str
    right: tuple[str, int | Decimal]  # ("sma", 50); ("", Decimal(300))


def parse_rules(text: str) -> list[Rule]:
    """The rules in a text, with semicolons between them. ValueError shows which one is wrong, and where."""
    rules: dict[tuple, Rule] = {}
    for line in filter(None, map(str.strip, text.split(";"))):
        parts, at = [], 0
        for pattern, expected in RULE_PARTS.items():
            if not (found := re.compile(rf"({pattern})\s*", re.ASCII).match(line, at)):
                raise ValueError(f"ALERT_RULES: expected {expected}:\n{line}\n{' ' * at}^")
            parts, at = [*parts, found[1]], found.end()
        symbols = frozenset(re.split(r"\s*,\s*", parts[0].upper()))
        sides = [re.fullmatch("([a-z_]*)(.*)", part).groups() for part in (parts[1], parts[3])]
        left, right = ((name, int(number or 0) if name else Decimal(number)) for name, number in sides)
        rule = Rule("".join(line.split()), " ".join(parts[1:4]), symbols, left, parts[2], right)
        if rules.setdefault(rule[2:], rule) is not rule:
            raise ValueError(f"ALERT_RULES: this rule stands there twice: {line}")
        if len(rule.text) > 900:  # it is a part of a key, which may have 1,024 bytes
            raise ValueError(f"ALERT_RULES: more than 900 characters: {line}")
    if len(rules) > 100:
        raise ValueError(f"ALERT_RULES: {len(rules)} rules, but 100 are the most")
    return list(rules.values())


RULES = parse_rules(os.environ.get("ALERT_RULES") or "")


def is_tick(item: dict[str, dict]) -> bool:
    """True for an item that ProcessStockData wrote. Anything else in the table is not a tick."""
    try:
        times = {item["timestamp"]["S"], item.get("fetched_at", item["timestamp"])["S"]}
        is_timed = all(TIMESTAMP.fullmatch(text) and datetime.fromisoformat(text) for text in times)
        return is_timed and "N" in item["price"] and "N" in item["change_percent"]
    except (KeyError, ValueError):
        return False


def is_history(item: dict[str, dict]) -> bool:
    """True for a tick that fills in the past."""
    return item.get("history") == {"BOOL": True}


def is_fresh(item: dict[str, dict]) -> bool:
    """True for a tick whose signals are published: live, and fetched within ALERT_MAX_AGE_MINUTES."""
    fetched_at = datetime.fromisoformat(item.get("fetched_at", item["timestamp"])["S"])
    return not is_history(item) and not 0 < MAX_AGE_SECONDS < time.time() - fetched_at.timestamp()


def anomaly_id(item: dict[str, dict]) -> str | None:
    """The exchange's date and the direction of a change beyond the threshold, as alert_id. None within it."""
    change_percent = Decimal(item["change_percent"]["N"])
    if abs(change_percent) <= ANOMALY_PERCENT:
        return None
    instant = datetime.fromisoformat(item["timestamp"]["S"])
    try:
        instant = instant.astimezone(ZoneInfo(item.get("exchange_timezone", {"S": "UTC"})["S"]))
    except (KeyError, ValueError, OSError) as error:
        logger.warning("unknown time zone, using the UTC date: %s", error)
    return f"{instant.date()}#ANOMALY#{'up' if change_percent > 0 else 'down'}"


class History:
    """A symbol's ticks up to a timestamp, newest first, read only as far back as needed."""

    def __init__(self, symbol: str, until: str, page_size: int) -> None:
        self.symbol, self.page_size, self.is_complete = symbol, page_size, False
        self.items, self.prices = [], []
        self.query = {"TableName": TABLE_NAME, "ConsistentRead": True, "ScanIndexForward": False}
        self.query["KeyConditionExpression"] = "symbol = :symbol AND #timestamp <= :until"
        self.query["ProjectionExpression"] = NEEDED
        self.query["ExpressionAttributeNames"] = {"#timestamp": "timestamp"}
        self.query["ExpressionAttributeValues"] = {":symbol": {"S": symbol}, ":until": {"S": until}}

    def load(self, count: int) -> bool:
        """Read until this many ticks are here. False if the table has fewer."""
        while len(self.items) < count and not self.is_complete:
            page = dynamodb.query(**self.query, Limit=self.page_size)
            ticks = [item for item in page["Items"] if is_tick(item)]
            self.items += ticks
            self.prices += [Decimal(tick["price"]["N"]) for tick in ticks]
            self.is_complete = "LastEvaluatedKey" not in page
            self.query["ExclusiveStartKey"] = page.get("LastEvaluatedKey")
            self.page_size *= 2
        return len(self.items) >= count

    def spread(self, place: int) -> Decimal | None:
        """Short minus long average, times both lengths to stay exact. None if there are too few ticks."""
        if not self.load(place + SMA_LONG):
            return None
        prices = self.prices[place : place + SMA_LONG]
        return SMA_LONG * sum(prices[:SMA_SHORT]) - SMA_SHORT * sum(prices)

    def crossover(self, place: int) -> str | None:
        """BUY if the short average crosses above the long one at this tick, SELL if below, else None.

        Averages that meet and part to the same side do not cross. If they were equal for LOOKBACK ticks, or
        for all ticks before, any difference is a cross.
        """
        if not self.load(place + 1 + SMA_LONG) or not (spread := self.spread(place)):
            return None
        earlier = (self.spread(place + back) for back in range(1, LOOKBACK + 1))
        before = next((each for each in earlier if each != 0), None) or 0
        return None if spread * before > 0 else "BUY" if spread > 0 else "SELL"

    def alerts(self, place: int, image: dict[str, dict]) -> list[dict[str, Any]]:
        """The alerts of a tick: its crossover, and its anomaly unless the ticks before it have raised it."""
        timestamp, signal = image["timestamp"]["S"], self.crossover(place)
        keys = {signal: f"{timestamp}#{signal}"} if signal else {}
        if anomaly := anomaly_id(image):
            before = [tick for tick in self.items[place + 1 : place + 3] if anomaly_id(tick) == anomaly]
            # One tick is not enough: it may be late, or may have replaced a tick of history.
            if sum(is_history(image) or is_fresh(tick) for tick in before) < 2:
                keys["ANOMALY"] = anomaly
        if not keys:
            return []
        price, change = Decimal(image["price"]["N"]), Decimal(image["change_percent"]["N"])
        text = f"{self.symbol} at {price:f} ({change:+.2f}% since the previous close)"
        tick = {"symbol": self.symbol, "timestamp": timestamp, "price": price, "change_percent": change}
        for name, length in (("sma_short", SMA_SHORT), ("sma_long", SMA_LONG)):
            if self.load(place + length):
                mean = sum(self.prices[place : place + length]) / length
                tick[name] = STORABLE.plus(round(mean, max(4, 6 - mean.adjusted())))
                text += f", SMA-{length} {tick[name]:f}"
        if (delay := Decimal(image.get("delay_minutes", {}).get("N", "0"))) > 0:
            text += f", {delay:f} min delayed"
        return [tick | {"signal": s, "alert_id": key, "message": f"{s} {text}"} for s, key in keys.items()]


@contextmanager
def tolerate_transient_errors(what: str) -> Iterator[None]:
    """Log an error that may pass and leave the block: botocore has retried already. Raise any other error."""
    try:
        yield
    except (ConnectionError, HTTPClientError) as error:  # no answer
        logger.warning("%s: %s", what, error)
    except ClientError as error:
        is_theirs = error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        if not is_theirs and not error.response["Error"]["Code"].startswith(THROTTLED):
            raise
        logger.warning("%s: %s", what, error)


def cools_down(alert: dict[str, Any]) -> bool:
    """True within ALERT_COOLDOWN_MINUTES of a crossover of the symbol that is published, or will be."""
    start = datetime.fromisoformat(alert["timestamp"]) - COOLDOWN
    since = f"{start:%Y-%m-%dT%H:%M:%S}.{start.microsecond // 1000:03d}Z~"  # ~ sorts after that time's alerts
    values = {":symbol": {"S": alert["symbol"]}, ":since": {"S": since}, ":until": {"S": alert["timestamp"]}}
    query = {"TableName": ALERTS_TABLE_NAME, "ConsistentRead": True, "ExpressionAttributeValues": values}
    query["KeyConditionExpression"] = "symbol = :symbol AND alert_id BETWEEN :since AND :until"
    pages = dynamodb.get_paginator("query").paginate(**query)
    earlier = [(item["signal"]["S"], item["status"]["S"]) for page in pages for item in page["Items"]]
    return any(signal != "ANOMALY" and status in ("pending", "sent") for signal, status in earlier)


def store(alert: dict[str, Any], image: dict[str, dict]) -> str:
    """Put an alert into the table unless it is there. Its status is decided here, once, and returned.

    An anomaly that is to be published replaces a historical one. If another tick has raised it, the answer is
    "known": that tick publishes it, if necessary when its batch is retried.
    """
    status = "pending" if is_fresh(image) else "historical"
    if status == "pending" and COOLDOWN and alert["signal"] != "ANOMALY" and cools_down(alert):
        status = "muted"
    expires_at = int(datetime.fromisoformat(alert["timestamp"]).timestamp()) + RETENTION_SECONDS
    fields = alert | {"status": status, "expires_at": expires_at}
    item = {name: {"S" if isinstance(value, str) else "N": str(value)} for name, value in fields.items()}
    replaced = "historical" if alert["signal"] == "ANOMALY" and status == "pending" else "none"
    condition = {"ConditionExpression": "attribute_not_exists(alert_id) OR #status = :replaced"}
    condition["ExpressionAttributeNames"] = {"#status": "status"}
    condition["ExpressionAttributeValues"] = {":replaced": {"S": replaced}}
    condition["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    try:
        dynamodb.put_item(TableName=ALERTS_TABLE_NAME, Item=item, **condition)
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        known = error.response["Item"]
        return known["status"]["S"] if known["timestamp"] == item["timestamp"] else "known"
    return status


def publish(position: int, alert: dict[str, Any]) -> list[int]:
    """Send an alert to all subscribers, then mark it as sent. Returns its tick's position if that failed."""
    text = f"{alert['message']}. {alert['timestamp'][:16].replace('T', ' ')} UTC. No investment advice."
    texts = {"default": text, "sms": text, "email": f"{text}\n\n{LEGEND}\n"}
    texts |= dict.fromkeys(("sqs", "lambda", "http", "https"), json.dumps(alert, default=float))
    message = {"Subject": re.sub("[^ -~]", "?", alert["message"])[:99], "Message": json.dumps(texts)}
    attributes = {name: {"DataType": "String", "StringValue": alert[name]} for name in ("symbol", "signal")}
    change = {"UpdateExpression": "SET #status = :sent", "ExpressionAttributeNames": {"#status": "status"}}
    change["ExpressionAttributeValues"] = {":sent": {"S": "sent"}}
    key = {name: {"S": alert[name]} for name in ("symbol", "alert_id")}
    with tolerate_transient_errors(alert["message"]):
        sns.publish(TopicArn=SNS_TOPIC_ARN, MessageStructure="json", MessageAttributes=attributes, **message)
        dynamodb.update_item(TableName=ALERTS_TABLE_NAME, Key=key, **change)
        return []
    return [position]


def judge(symbol: str, new: dict[str, tuple[int, dict]]) -> tuple[list[tuple[int, dict]], list[int]]:
    """Store the alerts of new ticks. Returns those to publish, and the positions of ticks not judged."""
    todo, pending = sorted(new), []
    history = History(symbol, todo[-1], len(todo) + SMA_LONG)
    with tolerate_transient_errors(symbol), localcontext(EXACT):
        while history.load(len(history.items) + 1) and history.items[-1]["timestamp"]["S"] > todo[0]:
            pass  # a late tick may be further back
        places = {item["timestamp"]["S"]: place for place, item in enumerate(history.items)}
        if not history.load(SMA_LONG + 1):
            logger.info("%s: %d of %d ticks", symbol, len(history.items), SMA_LONG + 1)
        while todo:
            position, image = new[todo[0]]
            for alert in history.alerts(places[todo[0]], image) if todo[0] in places else ():  # or deleted
                status = store(alert, image)
                logger.info("%s: %s", status, alert["message"])
                if status == "pending":
                    pending.append((position, alert))
            del todo[0]
    return pending, [new[timestamp][0] for timestamp in todo]


def report(**metrics: int) -> None:
    """Log one line for the batch, and print the line that CloudWatch turns into metrics (the EMF format)."""
    logger.info(", ".join(f"{name} {value}" for name, value in metrics.items()))
    units = [{"Name": name, "Unit": "Milliseconds" if name == "Lag" else "Count"} for name in metrics]
    directive = {"Namespace": "StockMarketStreaming", "Dimensions": [["FunctionName"]], "Metrics": units}
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": metadata, "FunctionName": "StockTrendAnalysis", **metrics}))


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Send the alerts of a DynamoDB stream batch. Returns the record that Lambda must go on from, if any."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(r, dict) and "dynamodb" in r for r in records):
        raise ValueError("not a DynamoDB stream event (Records[].dynamodb): add the ticks table as trigger")
    new: dict[str, dict[str, tuple[int, dict]]] = {}
    for position, record in enumerate(records):
        image = record["dynamodb"]["NewImage"] if record["eventName"] == "INSERT" else {}
        if is_tick(image):
            new.setdefault(image["symbol"]["S"], {}).setdefault(image["timestamp"]["S"], (position, image))
        elif image:
            logger.warning("not a tick, skipped: %s", record["dynamodb"].get("Keys"))
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        judged = list(pool.map(judge, new, new.values()))
        pending = [alert for alerts, _ in judged for alert in alerts]
        sent = pool.map(lambda alert: publish(*alert), pending)
        unsent = [position for positions in sent for position in positions]
    first = min([*unsent, *(position for _, left in judged for position in left)], default=len(records))
    live = [at for ticks in new.values() for at, (_, image) in ticks.items() if not is_history(image)]
    lag = int((time.time() - datetime.fromisoformat(min(live)).timestamp()) * 1000) if live else 0
    report(Records=len(records), Alerts=len(pending) - len(unsent), Retries=len(records) - first, Lag=lag)
    again = [record["dynamodb"]["SequenceNumber"] for record in records[first : first + 1]]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}
