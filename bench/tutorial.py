"""The handlers of the classic tutorial, re-created as plainly as they are taught: for handlers.py.

One PutItem and one PutObject a record; a Query over the whole day so far for each symbol of a batch, of which
only the newest tick is judged; every exception is printed and forgotten.
"""

import base64
import json
import os
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
