"""What the rules in ALERT_RULES say, by the parser and the judging functions of the handler itself.

    rules.py check SETTINGS           SETTINGS: the JSON that StockTrendAnalysis is deployed with
    rules.py symbols                  prints the symbols that the rules are about, one a line
    rules.py list FOLDER SYMBOL…      FOLDER/SYMBOL: the answer of `aws dynamodb query`, newest tick first
    rules.py try FOLDER DAYS SYMBOL…

Environment: ALERT_RULES, STOCK_SYMBOLS, and what the handler reads. Exit status 1 with the reason on standard
error when a rule is wrong.
"""

import importlib.util
import json
import os
import re
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import localcontext
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

HANDLER = Path(__file__).parents[3] / "lambdas/stock_trend_analysis.py"
ROOM = 4096  # bytes of environment: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
READABLE = 10  # alerts a day
LONGEST_TABLE = 50  # lines


def load_handler() -> ModuleType:
    """The handler, without boto3, which it does not need here. ValueError when a rule does not parse."""
    for name in ("boto3", "botocore", "botocore.config", "botocore.exceptions"):
        sys.modules[name] = MagicMock()
    for name in ("TABLE_NAME", "ALERTS_TABLE_NAME", "SNS_TOPIC_ARN"):
        os.environ.setdefault(name, "none")
    spec = importlib.util.spec_from_file_location("handler", HANDLER)
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    handler.logger.setLevel("WARNING")
    return handler


def streamed() -> list[str]:
    """The symbols in the settings, as the producer reads them."""
    text = os.environ.get("STOCK_SYMBOLS") or os.environ.get("STOCK_SYMBOL") or "AAPL"
    return list(dict.fromkeys(filter(None, re.split(r"[,\s]+", text.upper()))))


def symbols_of(handler: ModuleType) -> list[str]:
    """The symbols that the rules are about; a * stands for all that are streamed."""
    named = sorted(set().union(*(rule[0] for rule in handler.RULES.values())))
    return list(dict.fromkeys([*(streamed() if "*" in named else []), *(set(named) - {"*"})]))


def check(handler: ModuleType, settings: dict) -> str:
    """A note about symbols that nobody streams; ValueError when the settings are too large for Lambda."""
    variables = settings["Environment"]["Variables"]
    size = sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
    if size > ROOM:
        raise ValueError(f"ALERT_RULES: {size} bytes of settings, and Lambda takes {ROOM}: remove some rules")
    strangers = [symbol for symbol in symbols_of(handler) if symbol not in streamed()]
    if not strangers:
        return ""
    return (
        f"note: ALERT_RULES names {', '.join(strangers)}, and STOCK_SYMBOLS does not: does the producer know?"
    )


def history_of(handler: ModuleType, folder: str, symbol: str) -> object:
    """The handler's History over the ticks of a symbol, which are in a file."""
    items = json.loads(Path(folder, symbol).read_text() or "{}").get("Items", [])
    handler.dynamodb.query = lambda **_: {"Items": items}
    history = handler.History(symbol, "~", len(items) + 1)
    history.load(1)
    return history


def list_rules(handler: ModuleType, folder: str, symbols: list[str]) -> list[str]:
    """A line for each rule and symbol: what both sides are now, and how far it is from coming true."""
    histories = {symbol: history_of(handler, folder, symbol) for symbol in symbols}
    lines = [f"{'SYMBOL':<10} {'RULE':<30} {'NOW':<26} HOW FAR"]
    for names, left, right, sign, words in handler.RULES.values():
        text, _, values = words.strip().rstrip(")").partition(" (")
        for symbol in symbols if "*" in names else sorted(names & set(symbols)):
            history, now, far = histories[symbol], "", "unknown: not enough ticks yet"
            one, other = (history.rounded(side, 0) for side in (left, right))
            lead = sign * (one - other)
            if not lead.is_nan():
                now = values.format(one, other)
                far = "is true now, and alerts when it comes true again" if lead > 0 else f"{-lead:f} to go"
            lines.append(f"{symbol:<10} {text:<30} {now:<26} {far}")
    return lines


def try_rule(handler: ModuleType, folder: str, days: int, symbols: list[str]) -> list[str]:
    """What the rule would have told in the last days: a table, a count a day, a warning above 10 a day."""
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    told, a_day = [], Counter()
    for symbol in symbols:
        history = history_of(handler, folder, symbol)
        new = [place for place, item in enumerate(history.items) if item["timestamp"]["S"] >= since]
        for place in new:
            for alert in history.alerts(place, history.items[place]):
                if alert["signal"] == "RULE":
                    told.append((alert["timestamp"], alert["message"]))
                    a_day[alert["timestamp"][:10]] += 1
    told.sort()
    lines = [f"{timestamp[:16].replace('T', ' ')}  {message}" for timestamp, message in told[-LONGEST_TABLE:]]
    if len(told) > LONGEST_TABLE:
        lines.insert(0, f"… and {len(told) - LONGEST_TABLE} before")
    lines += ["", "DAY (UTC)   ALERTS", *(f"{day}  {count:>6}" for day, count in sorted(a_day.items()))]
    lines.append(f"{len(told)} alerts in {days} days, ALERT_COOLDOWN_MINUTES aside.")
    if a_day and (most := max(a_day.values())) > READABLE:
        lines.append(
            f"warning: {most} alerts on one day, and nobody reads more than {READABLE}: choose another limit"
        )
    return lines


def main(command: str, *arguments: str) -> list[str]:
    """The lines that a command prints."""
    handler = load_handler()
    with localcontext(handler.EXACT):
        if command == "check":
            return [check(handler, json.loads(arguments[0]))]
        if command == "symbols":
            return symbols_of(handler)
        if command == "list":
            return list_rules(handler, arguments[0], list(arguments[1:]))
        return try_rule(handler, arguments[0], int(arguments[1]), list(arguments[2:]))


if __name__ == "__main__":
    try:
        print("\n".join(main(*sys.argv[1:])))
    except ValueError as error:
        sys.exit(f"error: {error}")
