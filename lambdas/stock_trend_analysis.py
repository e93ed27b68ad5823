"""StockTrendAnalysis: find SMA crossovers, anomalies and what your rules say in new ticks; alert each once.

Paste this file into the Lambda console as lambda_function.py (Python 3.13, nothing to add) and give it the
stream of the ticks table as trigger, with "Report batch item failures" on. An alert is stored as pending,
published, then marked as sent. So a message repeats only if the function dies, or an answer is lost, between.

Environment: TABLE_NAME, ALERTS_TABLE_NAME, SNS_TOPIC_ARN; SMA_SHORT, SMA_LONG (ticks, default 5 and 20),
ANOMALY_PERCENT (5), ALERT_MAX_AGE_MINUTES (15, 0: no limit), ALERT_COOLDOWN_MINUTES (0), RETENTION_DAYS (30),
ALERT_DIGEST_ABOVE (5), ALERT_RULES (none; for example AAPL price > 300; * move15 < -2; MSFT,IBM rsi14 < 30).
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
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

setting = os.environ.get
REQUIRED = ("TABLE_NAME", "ALERTS_TABLE_NAME", "SNS_TOPIC_ARN")
if missing := [name for name in REQUIRED if not setting(name)]:
    raise KeyError(f"set {', '.join(missing)} in the function's configuration, as environment variables")
TABLE_NAME, ALERTS_TABLE_NAME, SNS_TOPIC_ARN = map(setting, REQUIRED)
SMA_SHORT, SMA_LONG = int(setting("SMA_SHORT") or 5), int(setting("SMA_LONG") or 20)
if not 0 < SMA_SHORT < SMA_LONG:
    raise ValueError(f"SMA_SHORT must be above 0 and below SMA_LONG, not {SMA_SHORT} and {SMA_LONG}")
ANOMALY_PERCENT = Decimal(setting("ANOMALY_PERCENT") or 5)
MAX_AGE_SECONDS = float(setting("ALERT_MAX_AGE_MINUTES") or 15) * 60
COOLDOWN_MINUTES = float(setting("ALERT_COOLDOWN_MINUTES") or 0)
DIGEST_ABOVE = int(setting("ALERT_DIGEST_ABOVE") or 5)
RETENTION_SECONDS = int(setting("RETENTION_DAYS") or 30) * 86_400

N, SYMBOL = r"(?:[2-9]|[1-9]\d|1\d\d|200)(?![\w.])", r"[A-Za-z0-9^][A-Za-z0-9.=^&_-]{0,31}"
LEFT = rf"((?:price|change_percent|volume)(?!\w)|(?:sma|move|rsi)(?={N}))(\d*)"
RIGHT = rf"(sma(?={N}))?(-?\d{{1,20}}(?:\.\d{{1,20}})?)"
RULE = rf"(?:(\*|{SYMBOL}(?:\s*,\s*{SYMBOL}){{0,24}})\s*(?:{LEFT}\s*(?:([<>])\s*(?:{RIGHT}\s*)?)?)?)?"
FORM = (
    "SYMBOLS LEFT > or < RIGHT. LEFT: price, change_percent, volume, smaN, moveN, rsiN. RIGHT: number, smaN"
)
SHORT, LONG = ("sma", SMA_SHORT), ("sma", SMA_LONG)
LOOKBACK = 500  # how many ticks to search for the last one at which the averages differed
CROSSOVERS = {"BUY": (SHORT, LONG, ""), "SELL": (LONG, SHORT, "")}
LEGEND = f"BUY: the average of {SMA_SHORT} ticks rose above that of {SMA_LONG}. SELL: it fell below."
NEEDED = "#timestamp, price, change_percent, volume, exchange_timezone, fetched_at, history"  # of each tick
TICKS = {"TableName": TABLE_NAME, "ConsistentRead": True, "ScanIndexForward": False}
TICKS |= {"ProjectionExpression": NEEDED, "ExpressionAttributeNames": {"#timestamp": "timestamp"}}
ALERTS = {"TableName": ALERTS_TABLE_NAME, "ExpressionAttributeNames": {"#status": "status"}}
THREADS = 16  # AWS calls in flight
EXACT, STORABLE = Context(prec=600), Context(prec=38)  # for sums of DynamoDB's numbers; for one of them
TIMESTAMP = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
THROTTLED = ("ProvisionedThroughput", "RequestLimit", "Throttl")  # the beginnings of error codes

(logger := logging.getLogger()).setLevel(logging.INFO)
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
    rules = {}  # of each: its symbols, the side to be greater, the other side, words to fill in both values
    for line in filter(None, map(str.strip, text.split(";"))):
        parts, key = re.match(RULE, line, re.ASCII), "RULE#" + "".join(line.split())
        if not parts[6] or parts.end() < len(line):
            raise ValueError(f"ALERT_RULES: expected {FORM}. N: 2 to 200.\n{line}\n{' ' * parts.end()}^")
        if key in rules or len(rules) == 100:
            raise ValueError(f"ALERT_RULES: {'twice' if key in rules else 'more than 100 rules'}: {line}")
        symbols, words = re.split(r"\s*,\s*", parts[1].upper()), line[parts.end(1) :].strip()
        left = parts[2], int(parts[3] or 0)
        right = ("sma", int(parts[6])) if parts[5] else ("", Decimal(parts[6]))
        is_above = left, right, f"{words} ({{0:f}} > {{1:f}}) "
        is_below = right, left, f"{words} ({{1:f}} < {{0:f}}) "
        rules[key] = frozenset(symbols), *(is_above if parts[4] == ">" else is_below)
    return rules


dynamodb.meta.events.register("before-parse.dynamodb.Query", read_page)
RULES = parse_rules(setting("ALERT_RULES") or "")


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


def rounded(top: Decimal, bottom: Decimal | int) -> Decimal:
    """A quotient with 4 decimals or 7 digits, whichever is finer. A whole stays as it is."""
    return STORABLE.plus(round(top / bottom, max(4, 6 - (top / bottom).adjusted()))) if bottom != 1 else top


class History:
    """A symbol's ticks up to a timestamp, newest first, read only as far back as needed."""

    def __init__(self, symbol: str, until: str, new: int) -> None:
        self.symbol, self.items, self.prices, self.is_complete = symbol, [], [], False
        self.rules = CROSSOVERS | {key: rule[1:] for key, rule in RULES.items() if rule[0] & {symbol, "*"}}
        self.gap = cache(self.gap)  # the next tick asks again
        sides = [side for rule in self.rules.values() for side in rule[:2] if side[0]]  # 2 ticks a minute
        self.page_size = new + max(n * (1 + (name == "move")) + (name != "sma") for name, n in sides)
        self.query = TICKS | {"KeyConditionExpression": "symbol = :symbol AND #timestamp <= :until"}
        self.query["ExpressionAttributeValues"] = {":symbol": {"S": symbol}, ":until": {"S": until}}

    def load(self, count: int) -> bool:
        """Read until this many ticks are here. False if the table has fewer."""
        while len(self.items) < count and not self.is_complete:
            page = dynamodb.query(**self.query, Limit=self.page_size)
            self.items += filter(is_tick, page["Items"])
            self.prices += [Decimal(tick["price"]["N"]) for tick in self.items[len(self.prices) :]]
            self.is_complete = "LastEvaluatedKey" not in page
            self.query["ExclusiveStartKey"], self.page_size = page.get("LastEvaluatedKey"), self.page_size * 2
        return len(self.items) >= count

    def place(self, until: str) -> int:
        """The place of the newest tick that is not after a time. Behind the last tick if there is none."""
        while not self.items or self.items[-1]["timestamp"]["S"] > until:
            if not self.load(len(self.items) + 1):
                break
        return bisect_left(self.items, True, key=lambda tick: tick["timestamp"]["S"] <= until)

    def value(self, side: tuple[str, Any], place: int) -> tuple[Decimal, Decimal | int] | None:
        """A side of a rule at a tick, as an exact fraction. None if it is not known."""
        name, n = side
        count = {"sma": n, "rsi": n + 1}.get(name, 1)
        if not self.load(place + count):
            return None
        item, prices = self.items[place], self.prices[place : place + count]
        if name == "sma":
            return sum(prices), n
        if name == "rsi":  # gains / (gains + losses); gains - losses is the change since the first price
            steps = sum(abs(new - old) for new, old in pairwise(prices))
            return (50 * (steps + prices[0] - prices[-1]), steps) if steps else None
        if name == "move":
            before = self.place(minutes_before(item["timestamp"]["S"], n))
            old = self.prices[before] if before < len(self.prices) else 0
            return (100 * (prices[0] - old), old) if old > 0 else None
        number = item.get(name, {}).get("N", None if name else n)
        return None if number is None else (Decimal(number), 1)

    def gap(self, rule: tuple, place: int) -> Decimal | None:
        """How far a rule is true at a tick, times both denominators. None if a side is not known."""
        one, other = self.value(rule[0], place), self.value(rule[1], place)
        return one[0] * other[1] - other[0] * one[1] if one and other else None

    def comes_true(self, rule: tuple, place: int) -> bool:
        """Whether a rule is true at a tick and was not at the one before, both known.

        Averages that meet and part to the same side do not cross. If they were equal for LOOKBACK ticks, or
        for all ticks before, any difference is a cross.
        """
        if (self.gap(rule, place) or 0) <= 0 or self.gap(rule, place + 1) is None:
            return False
        earlier = (self.gap(rule, place + back) for back in range(1, 2 if rule[2] else LOOKBACK + 1))
        return (next((gap for gap in earlier if gap != 0), None) or 0) <= 0

    def alerts(self, place: int, image: dict[str, dict]) -> Iterator[dict[str, Any]]:
        """The alerts of a tick: what comes true, and an anomaly unless the ticks before it have raised it."""
        timestamp, found = image["timestamp"]["S"], {}
        for key, rule in self.rules.items():
            if self.comes_true(rule, place):
                values = (rounded(*self.value(side, place)) for side in rule[:2])
                found[f"{timestamp}#{key}"] = rule[2].format(*values)
        if anomaly := anomaly_id(image):
            before = [tick for tick in self.items[place + 1 : place + 3] if anomaly_id(tick) == anomaly]
            # One tick is not enough: it may be late, or may have replaced a tick of history.
            if sum(is_history(image) or is_fresh(tick) for tick in before) < 2:
                found[anomaly] = ""
        price, change = Decimal(image["price"]["N"]), Decimal(image["change_percent"]["N"])
        tick = {"symbol": self.symbol, "timestamp": timestamp, "price": price, "change_percent": change}
        text, averages = f"at {price:f} ({change:+.2f}% since the previous close)", ""
        for name, side in (("sma_short", SHORT), ("sma_long", LONG)):
            if found and (mean := self.value(side, place)):
                tick[name] = rounded(*mean)
                averages += f", SMA-{side[1]} {tick[name]:f}"
        delay = image.get("delay_minutes", {}).get("N", "0")
        late = f", {delay} min delayed" if Decimal(delay) > 0 else ""
        for key, words in found.items():
            signal = key.split("#")[1]
            message = f"{signal} {self.symbol} {words}{text}{'' if words else averages}{late}"
            yield tick | {"signal": signal, "alert_id": key, "message": message}


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
    """True within ALERT_COOLDOWN_MINUTES of a crossover, or this rule, that is published or will be."""
    since = minutes_before(alert["timestamp"], COOLDOWN_MINUTES) + "~"  # ~ sorts after that time's alerts
    values = {":symbol": {"S": alert["symbol"]}, ":since": {"S": since}, ":until": {"S": alert["timestamp"]}}
    query = {"TableName": ALERTS_TABLE_NAME, "ConsistentRead": True, "ExpressionAttributeValues": values}
    query["KeyConditionExpression"] = "symbol = :symbol AND alert_id BETWEEN :since AND :until"
    items = [item for page in dynamodb.get_paginator("query").paginate(**query) for item in page["Items"]]
    told = [item["alert_id"]["S"] for item in items if item["status"]["S"] in ("pending", "told", "sent")]
    key = alert["alert_id"].partition("#")[2]
    alike = CROSSOVERS.keys() if key in CROSSOVERS else {key}
    return any(alert_id.partition("#")[2] in alike for alert_id in told)


def store(alert: dict[str, Any], image: dict[str, dict]) -> str:
    """Put an alert into the table unless it is there. Its status is decided here, once, and returned.

    An anomaly that is to be published replaces a historical one. If another tick has raised it, the answer is
    "known": that tick publishes it, if necessary when its batch is retried.
    """
    is_anomaly, status = alert["signal"] == "ANOMALY", "pending" if is_fresh(image) else "historical"
    if status == "pending" and COOLDOWN_MINUTES and not is_anomaly and cools_down(alert):
        status = "muted"
    expires_at = int(datetime.fromisoformat(alert["timestamp"]).timestamp()) + RETENTION_SECONDS
    fields = alert | {"status": status, "expires_at": expires_at}
    item = {name: {"S" if isinstance(value, str) else "N": str(value)} for name, value in fields.items()}
    put = ALERTS | {"Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    put["ConditionExpression"] = "attribute_not_exists(alert_id) OR #status = :replaced"
    replaced = "historical" if is_anomaly and status == "pending" else "none"
    try:
        dynamodb.put_item(**put, ExpressionAttributeValues={":replaced": {"S": replaced}})
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        known = error.response["Item"]
        return known["status"]["S"] if known["timestamp"] == item["timestamp"] else "known"
    return status


def mark(alert: dict[str, Any], status: str) -> None:
    """Set an alert's status: sent, or told while people have it from a digest and machines do not."""
    change = ALERTS | {"UpdateExpression": "SET #status = :sent"}
    change["Key"] = {name: {"S": alert[name]} for name in ("symbol", "alert_id")}
    dynamodb.update_item(**change, ExpressionAttributeValues={":sent": {"S": status}})


def publish(head: str, lines: str, fields: dict[str, Any], **attributes: str) -> None:
    """Send a message: to people its head, in an e-mail with the lines, and to machines the fields."""
    text = f"{head}. {fields['timestamp'][:16].replace('T', ' ')} UTC. No investment advice."
    texts = {"default": text, "sms": text, "email": f"{text}\n\n{lines}{LEGEND}\n"}
    texts |= dict.fromkeys(("sqs", "lambda", "http", "https"), json.dumps(fields, default=float))
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    message = {"Subject": re.sub("[^ -~]", "?", head)[:99], "Message": json.dumps(texts)}
    sns.publish(TopicArn=SNS_TOPIC_ARN, MessageStructure="json", MessageAttributes=typed, **message)


def tell(position: int, alert: dict[str, Any], audience: str) -> list[int]:
    """Publish an alert, then mark it as sent. Returns its tick's position if that failed."""
    names = {name: alert[name] for name in ("symbol", "signal")}
    with tolerate_transient_errors(alert["message"]):
        publish(alert["message"], "", alert, **names, audience=audience)
        mark(alert, "sent")
        return []
    if audience == "each":
        with tolerate_transient_errors(alert["message"]):
            mark(alert, "told")
    return [position]


def tell_people(alerts: list[dict[str, Any]]) -> bool:
    """Publish one message that names alerts of a signal, the largest move first. False if that failed."""
    signal, alerts = alerts[0]["signal"], sorted(alerts, key=lambda alert: -abs(alert["change_percent"]))
    up, down = (sum(sign * alert["change_percent"] > 0 for alert in alerts) for sign in (1, -1))
    head = f"{signal}: {len(alerts)} alerts, {up} up, {down} down. Largest move: "
    head += "{symbol} {change_percent:+.2f}% at {price:f}".format(**alerts[0])[:60]  # an SMS has 160 letters
    text = "".join(f"{alert['message']}\n" for alert in alerts)
    text = text[: text.rfind("\n", 0, 200_000) + 1]  # SNS takes 256 KB
    fields = {"signal": signal, "count": len(alerts), "timestamp": max(a["timestamp"] for a in alerts)}
    fields["message"] = "\n".join([head, *text.splitlines()[:10]])
    with tolerate_transient_errors(head):
        publish(head, f"{text}\n", fields, signal=signal, audience="digest")
        return True
    return False


def judge(symbol: str, new: dict[str, tuple[int, dict]]) -> tuple[list[tuple[int, dict, str]], list[int]]:
    """Store the alerts of new ticks. Returns those to publish, and the positions of ticks not judged."""
    todo, pending = sorted(new), []
    history = History(symbol, todo[-1], len(todo))
    with tolerate_transient_errors(symbol), localcontext(EXACT):
        history.place(todo[0])  # a late tick may be further back
        places = {item["timestamp"]["S"]: place for place, item in enumerate(history.items)}
        if not history.load(SMA_LONG + 1):
            logger.info("%s: %d of %d ticks", symbol, len(history.items), SMA_LONG + 1)
        while todo:
            position, image = new[todo[0]]
            for alert in history.alerts(places[todo[0]], image) if todo[0] in places else ():  # or deleted
                status = store(alert, image)
                logger.info("%s: %s", status, alert["message"])
                if status in ("pending", "told"):
                    pending.append((position, alert, "all" if status == "pending" else "each"))
            del todo[0]
    return pending, [new[timestamp][0] for timestamp in todo]


def tell_all(pending: list[tuple[int, dict, str]], pool: ThreadPoolExecutor) -> list[int]:
    """Publish alerts, many of them to people in one message a signal. Returns the positions of the unsent."""
    fresh = [alert for _, alert, audience in pending if audience == "all"]
    signals = {alert["signal"] for alert in fresh} if len(fresh) > DIGEST_ABOVE else set()
    told = {signal for signal in signals if tell_people([a for a in fresh if a["signal"] == signal])}

    def send(position: int, alert: dict[str, Any], audience: str) -> list[int]:
        if alert["signal"] in signals - told:  # people first
            return [position]
        return tell(position, alert, "each" if alert["signal"] in told else audience)

    return [position for positions in pool.map(lambda each: send(*each), pending) for position in positions]


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
        unsent = tell_all(pending, pool)
    first = min([*unsent, *(position for _, left in judged for position in left)], default=len(records))
    live = [at for ticks in new.values() for at, (_, image) in ticks.items() if not is_history(image)]
    lag = int((time.time() - datetime.fromisoformat(min(live)).timestamp()) * 1000) if live else 0
    report(Records=len(records), Alerts=len(pending) - len(unsent), Retries=len(records) - first, Lag=lag)
    again = [record["dynamodb"]["SequenceNumber"] for record in records[first : first + 1]]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}
