"""Prints the input of `aws sns publish --cli-input-json` for a test alert, which has the form of a real one.

build_test_alert.py TOPIC_ARN SYMBOL SIGNAL SMA_SHORT SMA_LONG
"""

import json
import sys
from datetime import UTC, datetime


def build(topic_arn: str, symbol: str, signal: str, sma_short: str, sma_long: str, now: datetime) -> dict:
    """The parameters of Publish: a text or JSON for each protocol, and attributes to filter on."""
    timestamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    alert_id = f"{timestamp[:10]}#ANOMALY#up" if signal == "ANOMALY" else f"{timestamp}#{signal}"
    message = f"TEST, no real signal: {signal} {symbol} at 100 (+6.00% since the previous close)"
    message += f", SMA-{sma_short} 99.5, SMA-{sma_long} 99.4"
    alert = {"symbol": symbol, "timestamp": timestamp, "price": 100.0, "change_percent": 6.0}
    alert |= {"sma_short": 99.5, "sma_long": 99.4, "signal": signal, "alert_id": alert_id, "message": message}
    alert["audience"] = "all"
    text = f"{message}. {timestamp[:16].replace('T', ' ')} UTC. No investment advice."
    legend = "This is a test of your subscription, sent by scripts/alerts.sh test. The figures are made up."
    texts = {"default": text, "sms": text, "email": f"{text}\n\n{legend}\n"}
    texts |= dict.fromkeys(("sqs", "lambda", "http", "https"), json.dumps(alert | {"test": True}))
    return {
        "TopicArn": topic_arn,
        "Subject": message[:99],
        "Message": json.dumps(texts),
        "MessageStructure": "json",
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value}
            for name, value in (("symbol", symbol), ("signal", signal), ("audience", "all"))
        },
    }


if __name__ == "__main__":
    print(json.dumps(build(*sys.argv[1:6], now=datetime.now(UTC))))
