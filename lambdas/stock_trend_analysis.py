"""StockTrendAnalysis: find SMA crossovers, anomalies and what your rules say in new ticks; alert each once.

Paste this file into the Lambda console as lambda_function.py (Python 3.13, nothing to add) and give it the
stream of the ticks table as trigger, with "Report batch item failures" on. An alert is stored as pending,
published, then marked as sent. So a message repeats only if the function dies, or an answer is lost, between.
Environment: TABLE_NAME, ALERTS_TABLE_NAME, SNS_TOPIC_ARN; the other settings and their defaults are below.
"""

import json
import logging
import os
import re
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from itertools import accumulate, chain, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

setting = os.environ.get
TABLE_NAME, ALERTS_TABLE_NAME = os.environ["TABLE_NAME"], os.environ["ALERTS_TABLE_NAME"]
SNS_TOPIC_ARN = os.environ["SNS_TOPIC_ARN"]
SMA_SHORT, SMA_LONG = int(setting("SMA_SHORT") or 5), int(setting("SMA_LONG") or 20)  # ticks
if not 0 < SMA_SHORT < SMA_LONG:
    raise ValueError(f"SMA_SHORT must be above 0 and below SMA_LONG, not {SMA_SHORT} and {SMA_LONG}")
ANOMALY_PERCENT = Decimal(setting("ANOMALY_PERCENT") or 5)
MAX_AGE_SECONDS = float(setting("ALERT_MAX_AGE_MINUTES") or 15) * 60  # 0: no limit
COOLDOWN_MINUTES = float(setting("ALERT_COOLDOWN_MINUTES") or 0)
DIGEST_ABOVE = int(setting("ALERT_DIGEST_ABOVE") or 5)  # alerts in a batch
RETENTION_SECONDS = int(setting("RETENTION_DAYS") or 30) * 86_400

N, SYMBOL = r"(?:[2-9]|[1-9]\d|1\d\d|200)(?![\w.])", r"[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}"
LEFT = rf"((?:price|change_percent|volume)(?!\w)|(?:sma|move|rsi)(?={N}))(\d*)"
RIGHT = rf"(sma(?={N}))?(-?\d{{1,20}}(?:\.\d{{1,20}})?)"
RULE = rf"(?:(\*|{SYMBOL}(?:\s*,\s*{SYMBOL}){{0,24}})\s*(?:{LEFT}\s*(?:([<>])\s*(?:{RIGHT}\s*)?)?)?)?"
FORM = "SYMBOLS LEFT > or < RIGHT. LEFT: price, change_percent, volume, smaN, moveN, rsiN. RIGHT: 1.5, smaN"
SHORT, LONG = ("sma", SMA_SHORT), ("sma", SMA_LONG)
CROSSOVERS = {"BUY": (SHORT, LONG, 1, ""), "SELL": (SHORT, LONG, -1, "")}  # in the form of rules
LOOKBACK = 500  # how many ticks to search for the last one at which the averages differed
LEGEND = f"BUY: the average of {SMA_SHORT} ticks rose above that of {SMA_LONG}. SELL: it fell below."
HISTORY = {"BOOL": True}  # of a tick that fills in the past
NEEDED = "#timestamp, price, change_percent, volume, exchange_timezone, fetched_at, history"  # of each tick
TICKS = {"TableName": TABLE_NAME, "ConsistentRead": True, "ScanIndexForward": False}
TICKS |= {"ProjectionExpression": NEEDED, "ExpressionAttributeNames": {"#timestamp": "timestamp"}}
TICKS |= {"KeyConditionExpression": "symbol = :symbol AND #timestamp <= :until"}
THREADS = 16  # AWS calls in flight
# EXACT tells apart any two quotients of sums of DynamoDB's numbers, which are STORABLE. UNKNOWN is never > 0.
EXACT, STORABLE, UNKNOWN = Context(prec=600, traps=[]), Context(prec=38), Decimal("NaN")
TIMESTAMP = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
THROTTLED = ("ProvisionedThroughput", "RequestLimit", "Throttl")  # the beginnings of error codes

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


def parse_rules(text: str) -> dict[str, tuple]:
    """The rules in a text by key, such as RULE#AAPLprice>300. ValueError shows a mistake and its place."""
    rules = {}  # of each: its symbols, both sides, 1 for > or -1 for <, words to fill in both values
    for line in filter(None, map(str.strip, text.split(";"))):
        parts, key = re.match(RULE, line, re.ASCII), "RULE#" + "".join(line.split())
        if not parts[6] or parts.end() < len(line):
            raise ValueError(f"ALERT_RULES: expected {FORM}. N: 2 to 200.\n{line}\n{' ' * parts.end()}^")
        if key in rules or len(rules) == 100:
            raise ValueError(f"ALERT_RULES: {'twice' if key in rules else 'more than 100 rules'}: {line}")
        symbols, words = re.split(r"\s*,\s*", parts[1].upper()), line[parts.end(1) :].strip()
        right = ("sma", int(parts[6])) if parts[5] else ("", Decimal(parts[6]))
        sides, sign = ((parts[2], int(parts[3] or 0)), right), 1 if parts[4] == ">" else -1
        rules[key] = frozenset(symbols), *sides, sign, f"{words} ({{:f}} {parts[4]} {{:f}}) "
    return rules


dynamodb.meta.events.register("before-parse.dynamodb.Query", read_page)
RULES = parse_rules(setting("ALERT_RULES") or "")  # such as AAPL price > 300; * move15 < -2


def is_tick(item: dict[str, dict]) -> bool:
    """True for an item that ProcessStockData wrote. Anything else in the table is not a tick."""
    try:
        times = [item.get(name, item["timestamp"])["S"] for name in ("timestamp", "fetched_at")]
        is_dated = all(TIMESTAMP.fullmatch(text) and datetime.fromisoformat(text) for text in times)
        return is_dated and item["price"].keys() == item["change_percent"].keys() == {"N"}
    except (KeyError, ValueError):
        return False


def is_fresh(item: dict[str, dict]) -> bool:
    """True for a tick whose signals are published: live, and fetched within ALERT_MAX_AGE_MINUTES."""
    age = time.time() - datetime.fromisoformat(item.get("fetched_at", item["timestamp"])["S"]).timestamp()
    return item.get("history") != HISTORY and not 0 < MAX_AGE_SECONDS < age


def anomaly_id(item: dict[str, dict]) -> str | None:
    """The exchange's date and the direction of a change beyond the threshold, as alert_id. None within it."""
    change, instant = Decimal(item["change_percent"]["N"]), item["timestamp"]["S"]
    if abs(change) <= ANOMALY_PERCENT:
        return None
    try:
        zone = ZoneInfo(item.get("exchange_timezone", {"S": "UTC"})["S"])
        instant = datetime.fromisoformat(instant).astimezone(zone).isoformat()
    except (KeyError, ValueError, OSError) as error:
        logger.warning("unknown time zone, using the UTC date: %s", error)
    return f"{instant[:10]}#ANOMALY#{'up' if change > 0 else 'down'}"


def minutes_before(timestamp: str, minutes: float) -> str:
    """The timestamp of so many minutes earlier."""
    earlier = datetime.fromisoformat(timestamp) - timedelta(minutes=minutes)
    return earlier.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class History:
    """A symbol's ticks up to a timestamp, newest first, read only as far back as needed."""

    def __init__(self, symbol: str, until: str, new: int) -> None:
        self.symbol, self.items, self.is_complete = symbol, [], False
        self.rules = CROSSOVERS | {key: rule[1:] for key, rule in RULES.items() if rule[0] & {symbol, "*"}}
        sides = [side for rule in self.rules.values() for side in rule[:2] if all(side)]  # 2 ticks a minute
        self.page_size = new + max(n * (1 + (name == "move")) + (name != "sma") for name, n in sides)
        self.query = TICKS | {"ExpressionAttributeValues": {":symbol": {"S": symbol}, ":until": {"S": until}}}

    def load(self, count: int, until: str = "~") -> bool:
        """Read until so many ticks are here, and one that is not after a time. False if there are too few."""
        while not self.is_complete and (len(self.items) < count or self.items[-1]["timestamp"]["S"] > until):
            page = dynamodb.query(**self.query, Limit=self.page_size)
            self.items += filter(is_tick, page["Items"])
            self.prices = [*(Decimal(item["price"]["N"]) for item in self.items), UNKNOWN]
            self.sums = [0, *accumulate(self.prices)]
            self.moves = [0, *accumulate(abs(new - old) for new, old in pairwise(self.prices))]
            self.is_complete = "LastEvaluatedKey" not in page
            self.query["ExclusiveStartKey"], self.page_size = page.get("LastEvaluatedKey"), self.page_size * 2
        return len(self.items) >= count

    def value(self, side: tuple[str, Any], place: int) -> Decimal:
        """A side of a rule at a tick. NaN if it is not known."""
        name, n = side
        if not name:
            return n
        if not self.load(place + {"sma": n, "rsi": n + 1}.get(name, 1)):
            return UNKNOWN
        if name == "sma":
            return (self.sums[place + n] - self.sums[place]) / n
        if name == "rsi":  # 100 * gains / (gains + losses)
            moves = self.moves[place + n] - self.moves[place]
            return 50 * (moves + self.prices[place] - self.prices[place + n]) / moves
        if name == "move":
            since = minutes_before(self.items[place]["timestamp"]["S"], n)
            self.load(1, since)
            old = self.prices[bisect_left(self.items, True, key=lambda item: item["timestamp"]["S"] <= since)]
            return 100 * (self.prices[place] - old) / old
        return Decimal(self.items[place].get(name, {}).get("N", UNKNOWN))

    def rounded(self, side: tuple[str, Any], place: int) -> Decimal:
        """A side of a rule at a tick; what is computed has 4 decimals or 7 digits, whichever is finer."""
        value = self.value(side, place)
        return STORABLE.plus(round(value, max(4, 6 - value.adjusted()))) if all(side) else value

    def comes_true(self, key: str, place: int) -> bool:
        """True if a rule is true at a tick and was not at the one before, both known."""
        left, right, sign, _ = self.rules[key]
        at = range(place, place + 1 + (LOOKBACK if key in CROSSOVERS else 1))
        leads = (sign * (self.value(left, tick) - self.value(right, tick)) for tick in at)
        if not next(leads) > 0 or (before := next(leads)).is_nan():
            return False
        # Averages that meet and part to the same side do not cross. If they never differed before, they do.
        return not next((lead for lead in chain([before], leads) if lead != 0), 0) > 0

    def alerts(self, place: int, image: dict[str, dict]) -> Iterator[dict[str, Any]]:
        """The alerts of a tick: what comes true, and an anomaly unless the ticks before it have raised it."""
        timestamp, found = image["timestamp"]["S"], {}
        for key, (*sides, _, words) in self.rules.items():
            if self.comes_true(key, place):
                found[f"{timestamp}#{key}"] = words.format(*(self.rounded(side, place) for side in sides))
        if anomaly := anomaly_id(image):
            before = [tick for tick in self.items[place + 1 : place + 3] if anomaly_id(tick) == anomaly]
            # One tick is not enough: it may be late, or may have replaced a tick of history.
            if sum(image.get("history") == HISTORY or is_fresh(tick) for tick in before) < 2:
                found[anomaly] = ""
        names = ("price", "change_percent", "delay_minutes")
        price, change, delay = (Decimal(image.get(name, {}).get("N", 0)) for name in names)
        tick = {"symbol": self.symbol, "timestamp": timestamp, "price": price, "change_percent": change}
        averages, late = "", f", {delay:f} min delayed" if delay > 0 else ""
        for name, side in (("sma_short", SHORT), ("sma_long", LONG)):
            if found and self.load(place + side[1]):
                tick[name] = self.rounded(side, place)
                averages += f", SMA-{side[1]} {tick[name]:f}"
        for key, words in found.items():
            signal = key.split("#")[1]
            text = f"{signal} {self.symbol} {words}at {price:f} ({change:+.2f}% since the previous close)"
            text += late if words else averages + late
            yield tick | {"signal": signal, "alert_id": key, "message": text}


@contextmanager
def tolerate_transient_errors(what: str) -> Iterator[None]:
    """Log an error that may pass and leave the block: botocore has retried already. Raise any other error."""
    try:
        yield
    except (ConnectionError, HTTPClientError, ClientError) as error:
        answer = getattr(error, "response", None)  # without one, or with theirs or a throttle: it may pass
        is_ours = answer and answer["ResponseMetadata"]["HTTPStatusCode"] < 500
        if is_ours and not answer["Error"]["Code"].startswith(THROTTLED):
            raise
        logger.warning("%s: %s", what, error)


def cools_down(alert: dict[str, Any]) -> bool:
    """True within ALERT_COOLDOWN_MINUTES of a crossover, or this rule, that is published or will be."""
    since = minutes_before(alert["timestamp"], COOLDOWN_MINUTES) + "~"  # ~ sorts after that time's alerts
    values = {":symbol": {"S": alert["symbol"]}, ":since": {"S": since}, ":until": {"S": alert["timestamp"]}}
    query = {"TableName": ALERTS_TABLE_NAME, "ConsistentRead": True, "ExpressionAttributeValues": values}
    query["KeyConditionExpression"] = "symbol = :symbol AND alert_id BETWEEN :since AND :until"
    items = [item for item in dynamodb.query(**query)["Items"] if item["status"]["S"] in ("pending", "sent")]
    told = {item["alert_id"]["S"].partition("#")[2] for item in items}
    key = alert["alert_id"].partition("#")[2]
    return not told.isdisjoint(CROSSOVERS if key in CROSSOVERS else {key})


def store(alert: dict[str, Any], image: dict[str, dict]) -> bool:
    """Put an alert into the table unless it is there, its status decided for good. True if it is pending."""
    is_anomaly, status = alert["signal"] == "ANOMALY", "pending" if is_fresh(image) else "historical"
    if status == "pending" and COOLDOWN_MINUTES and not is_anomaly and cools_down(alert):
        status = "muted"
    expires_at = int(datetime.fromisoformat(alert["timestamp"]).timestamp()) + RETENTION_SECONDS
    fields = alert | {"status": status, "expires_at": expires_at}
    item = {name: {"S" if isinstance(value, str) else "N": str(value)} for name, value in fields.items()}
    # An anomaly that is to be published replaces one that was only recorded.
    replaced = "historical" if is_anomaly and status == "pending" else "none"
    put = {"TableName": ALERTS_TABLE_NAME, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    put["ConditionExpression"] = "attribute_not_exists(alert_id) OR #status = :replaced"
    put["ExpressionAttributeNames"] = {"#status": "status"}
    try:
        dynamodb.put_item(**put, ExpressionAttributeValues={":replaced": {"S": replaced}})
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        item = error.response["Item"]
        if any(item[name]["S"] != alert[name] for name in ("symbol", "alert_id")):
            raise ValueError(f"{ALERTS_TABLE_NAME}: the keys must be symbol and alert_id") from error
    logger.info("%s: %s", item["status"]["S"], alert["message"])
    alert["audience"] = item.get("audience", {"S": "all"})["S"]
    # If another tick has raised the anomaly, that tick publishes it, if necessary when its batch is retried.
    return item["status"]["S"] == "pending" and item["timestamp"]["S"] == alert["timestamp"]


def mark(alert: dict[str, Any], name: str, value: str) -> None:
    """Set a field of an alert in the table."""
    change = {"UpdateExpression": "SET #name = :value", "ExpressionAttributeNames": {"#name": name}}
    change["ExpressionAttributeValues"] = {":value": {"S": value}}
    change["Key"] = {name: {"S": alert[name]} for name in ("symbol", "alert_id")}
    dynamodb.update_item(TableName=ALERTS_TABLE_NAME, **change)


def publish(message: dict[str, Any], lines: str = "") -> bool:
    """Publish an alert and mark it as sent, or publish a digest with its lines. False if that failed."""
    head, audience = message["message"], message["audience"]
    if audience == "later":  # its digest failed, and people come first
        return False
    text = f"{head}. {message['timestamp'][:16].replace('T', ' ')} UTC. No investment advice."
    texts = {"default": text, "sms": text, "email": f"{text}\n\n{lines}{LEGEND}\n"}
    fields = message | {"message": "\n".join([head, *lines.splitlines()[:10]])}
    texts |= dict.fromkeys(("sqs", "lambda", "http", "https"), json.dumps(fields, default=float))
    names = [name for name in ("symbol", "signal", "audience") if name in message]
    typed = {name: {"DataType": "String", "StringValue": message[name]} for name in names}
    parts = {"Subject": re.sub("[^ -~]", "?", head)[:99], "Message": json.dumps(texts)}
    with tolerate_transient_errors(head):
        sns.publish(TopicArn=SNS_TOPIC_ARN, MessageStructure="json", MessageAttributes=typed, **parts)
        if audience != "digest":
            mark(message, "status", "sent")
        return True
    if audience == "each":  # people have it from the digest
        with tolerate_transient_errors(head):
            mark(message, "audience", "each")
    return False


def digest(alerts: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """One message for people that names alerts of a signal, the largest move first, and its lines."""
    alerts = sorted(alerts, key=lambda alert: -abs(alert["change_percent"]))
    up, down = (sum(sign * alert["change_percent"] > 0 for alert in alerts) for sign in (1, -1))
    head = f"{alerts[0]['signal']}: {len(alerts)} alerts, {up} up, {down} down. Largest move: "
    head += "{symbol} {change_percent:+.2f}% at {price:f}".format(**alerts[0])[:60]  # an SMS has 160 letters
    lines = "".join(f"{alert['message']}\n" for alert in alerts)[:200_000]  # SNS takes 256 KB
    fields = {"signal": alerts[0]["signal"], "audience": "digest", "count": len(alerts), "message": head}
    return fields | {"timestamp": max(alert["timestamp"] for alert in alerts)}, f"{lines}\n"


def tell(pending: list[tuple[int, dict]], pool: ThreadPoolExecutor) -> list[int]:
    """Publish alerts, many of them to people in one message a signal. Returns the positions of the unsent."""
    fresh = [alert for _, alert in pending if alert["audience"] == "all"]
    for signal in {alert["signal"] for alert in fresh} if len(fresh) > DIGEST_ABOVE else ():
        alike = [alert for alert in fresh if alert["signal"] == signal]
        audience = "each" if publish(*digest(alike)) else "later"
        for alert in alike:
            alert["audience"] = audience
    sent = pool.map(publish, [alert for _, alert in pending])
    return [position for (position, _), is_sent in zip(pending, sent, strict=True) if not is_sent]


def judge(symbol: str, new: dict[str, tuple[int, dict]]) -> list[tuple[int, dict]]:
    """Store the alerts of new ticks, and take those ticks out of `new`. Returns the alerts to publish."""
    history, pending = History(symbol, max(new), len(new)), []
    with tolerate_transient_errors(symbol), localcontext(EXACT):
        if not history.load(SMA_LONG + 1, min(new)):
            logger.info("%s: %d of %d ticks", symbol, len(history.items), SMA_LONG + 1)
        places = {item["timestamp"]["S"]: place for place, item in enumerate(history.items)}
        for timestamp in sorted(new):
            position, image = new[timestamp]
            alerts = history.alerts(places[timestamp], image) if timestamp in places else ()  # or deleted
            pending += [(position, alert) for alert in alerts if store(alert, image)]
            del new[timestamp]
    return pending


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
    images = [image for ticks in new.values() for _, image in ticks.values()]
    live = [image["timestamp"]["S"] for image in images if image.get("history") != HISTORY]
    lag = int((time.time() - datetime.fromisoformat(min(live)).timestamp()) * 1000) if live else 0
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        pending = [alert for alerts in pool.map(judge, new, new.values()) for alert in alerts]
        unsent = tell(pending, pool)
    left = [position for ticks in new.values() for position, _ in ticks.values()]
    first = min(unsent + left, default=len(records))
    report(Records=len(records), Alerts=len(pending) - len(unsent), Retries=len(records) - first, Lag=lag)
    again = [record["dynamodb"]["SequenceNumber"] for record in records[first : first + 1]]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}
