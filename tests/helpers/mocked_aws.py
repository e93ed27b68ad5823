"""The tables, the bucket and the topic in moto's mock of AWS, as the scripts deploy them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
import botocore.session
import moto.s3.urls
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws
from moto.core.serialize import BaseJSONSerializer

from helpers.checkout import rendered

SETTINGS = {
    "ACCOUNT_ID": "123456789012",
    "AWS_REGION": "us-east-1",
    "TABLE_NAME": "stock-market-data",
    "ALERTS_TABLE_NAME": "stock-trend-alerts",
    "BUCKET_NAME": "stock-market-data-bucket-123456789012-us-east-1",
    "ADDRESSES_PARAMETER": "/stock-market-streaming/alert-addresses",
    "SNS_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:Stock_Trend_Alerts",
    "SMA_SHORT": "5",
    "SMA_LONG": "20",
    "ANOMALY_PERCENT": "5",
    "ALERT_MAX_AGE_MINUTES": "15",
    "ALERT_COOLDOWN_MINUTES": "0",
    "ALERT_DIGEST_ABOVE": "5",
    "ALERT_RULES": "",
    "BATCH_WINDOW_SECONDS": "1",
    "RETENTION_DAYS": "30",
}
client = cache(boto3.client)  # making one takes longer than most tests
session = cache(boto3.Session)  # reads the definition of a service once, not once a test
LOADER = botocore.session.create_loader()  # the same for tests that need sessions of their own
key_of_signatures = cache(rsa.generate_private_key)
serialize_structure = BaseJSONSerializer._serialize_type_structure


def serialize_quickly(serializer: object, serialized: dict, value: Any, shape: Any, key: str) -> None:
    """Answer a value of a DynamoDB item as it is. moto would look for ten members, each under three names."""
    if shape.name == "AttributeValue":
        serialized[key] = value
    else:
        serialize_structure(serializer, serialized, value, shape, key)


@contextmanager
def quick_moto(config: dict | None = None) -> Iterator[None]:
    """AWS, played by moto, without what takes long and changes no answer."""
    with (
        patch("moto.core.models.RESPONSES_METHODS", []),  # patterns for requests, which boto3 does not use
        # moto makes such a key for each subscription, in the time of a whole test.
        patch("moto.sns.models.Subscription.private_key", lambda _: key_of_signatures(65537, 2048)),
        patch("moto.s3.models.S3Backend._url_module", moto.s3.urls),  # reloaded from the disk at each call
        patch.object(BaseJSONSerializer, "_serialize_type_structure", serialize_quickly),
        mock_aws(config=config),
        patch("boto3.DEFAULT_SESSION", session()),
    ):
        yield


def resource(name: str) -> dict[str, Any]:
    """What scripts/resources/NAME.json deploys, its placeholders filled."""
    return rendered(f"scripts/resources/{name}.json", SETTINGS)


class Table:
    """A DynamoDB table as scripts/resources/NAME.json defines it."""

    def __init__(self, name: str) -> None:
        self.definition = resource(name)
        self.client = client("dynamodb")
        self.client.create_table(**self.definition)

    def items(self) -> list[dict[str, dict]]:
        """All items, in DynamoDB's own form."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.definition["TableName"])
        return [item for page in pages for item in page["Items"]]

    def put(self, *items: dict[str, dict]) -> None:
        """Put up to 25 items."""
        puts = [{"PutRequest": {"Item": item}} for item in items]
        self.client.batch_write_item(RequestItems={self.definition["TableName"]: puts})

    def empty(self) -> None:
        """Make the table anew."""
        self.client.delete_table(TableName=self.definition["TableName"])
        self.client.create_table(**self.definition)


class Bucket:
    """The bucket."""

    def __init__(self) -> None:
        self.name = SETTINGS["BUCKET_NAME"]
        self.client = client("s3")
        self.client.create_bucket(Bucket=self.name)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of the objects under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Bodies by key."""
        keys = self.keys(prefix)
        return {key: self.client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}

    def put(self, key: str, body: bytes) -> None:
        """Put an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def empty(self) -> None:
        """Delete all objects."""
        if keys := [{"Key": key} for key in self.keys()]:
            self.client.delete_objects(Bucket=self.name, Delete={"Objects": keys})


class Topic:
    """The topic, with a queue that gets every message."""

    def __init__(self) -> None:
        sns = client("sns")
        self.arn = sns.create_topic(Name=SETTINGS["SNS_TOPIC_ARN"].rpartition(":")[2])["TopicArn"]
        self.sqs = client("sqs")
        self.url = self.sqs.create_queue(QueueName="messages")["QueueUrl"]
        queue_arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=queue_arn["Attributes"]["QueueArn"])

    def messages(self) -> list[dict[str, Any]]:
        """The envelopes that have come since the last call, oldest first."""
        result = []
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                result.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return result
