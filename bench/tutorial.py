"""The classic tutorial's handlers and producer, re-created as plainly as they are taught: to measure against.

One PutItem and one PutObject a record; a Query over the whole day so far for each symbol of a batch, of which
only the newest tick is judged; every exception is printed and forgotten. The producer takes one symbol after
the other, and sleeps after each round. Run as a program, it streams simulated quotes:

    python bench/tutorial.py SYMBOL,SYMBOL… DELAY
"""

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Key


def ProcessStockData() -> Callable:
    """The first handler, with its clients."""
    table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
    s3 = boto3.client("s3")

    def lambda_handler(event, context):
        for record in event["Records"]:
            try:
                text = base64.b64decode(record["kinesis"]["data"]).decode()
                tick = json.loads(text, parse_float=Decimal)
                key = f"raw-data/{tick['symbol']}/{tick['timestamp']}.json"
                s3.put_object(Bucket=os.environ["BUCKET_NAME"], Key=key, Body=text)
                moving_average = (tick["open"] + tick["high"] + tick["low"] + tick["price"]) / 4
                tick["anomaly"] = "Yes" if abs(tick["change_percent"]) > 5 else "No"
                table.put_item(Item=tick | {"moving_average": moving_average})
            except Exception as error:
                print(f"Error: {error}")
        return {"statusCode": 200}

    return lambda_handler


def StockTrendAnalysis() -> Callable:
    """The second handler, with its clients."""
    table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
    sns = boto3.client("sns")

    def lambda_handler(event, context):
        images = [record["dynamodb"]["NewImage"] for record in event["Records"]]
        newest = {image["symbol"]["S"]: image["timestamp"]["S"] for image in images}
        for symbol, timestamp in newest.items():
            try:
                day = Key("symbol").eq(symbol) & Key("timestamp").between(timestamp[:10], timestamp)
                prices = [item["price"] for item in table.query(KeyConditionExpression=day)["Items"]]
                if len(prices) < 21:
                    continue
                now = sum(prices[-5:]) / 5, sum(prices[-20:]) / 20
                before = sum(prices[-6:-1]) / 5, sum(prices[-21:-1]) / 20
                if (before[0] <= before[1]) != (now[0] <= now[1]):
                    signal = "BUY" if now[0] > now[1] else "SELL"
                    message = f"{symbol}: {signal} at {prices[-1]}"
                    sns.publish(TopicArn=os.environ["SNS_TOPIC_ARN"], Message=message, Subject="Stock alert")
            except Exception as error:
                print(f"Error: {error}")
        return {"statusCode": 200}

    return lambda_handler


def produce(symbols: list[str], delay: float, fetch: Callable[[str], dict]) -> None:
    """The producer: `fetch` gives the tick of a symbol."""
    kinesis = boto3.client("kinesis")
    while True:
        for symbol in symbols:
            data = json.dumps(fetch(symbol))
            kinesis.put_record(StreamName=os.environ["STREAM_NAME"], Data=data, PartitionKey=symbol)
        time.sleep(delay)


if __name__ == "__main__":
    from datetime import UTC, datetime
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from sources.simulated import SimulatedSource
    from stream_stock_data import build_tick

    source = SimulatedSource(seed=None, delay_seconds=float(sys.argv[2]))
    produce(
        sys.argv[1].split(","),
        float(sys.argv[2]),
        lambda symbol: build_tick(
            source.fetch([symbol])[0], source="simulated", fetched_at=datetime.now(UTC)
        ),
    )
