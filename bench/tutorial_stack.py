"""The classic tutorial's pipeline on a local stack, created as plainly as it is taught: for end_to_end.py."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from local_stack import ROOT, LocalStack

NAME = "tutorial"
TUTORIAL = ROOT / "bench/tutorial.py"
BATCH = 2


class TutorialStack:
    """Stream, table, bucket, topic with a queue, and both functions, with a role that may do everything."""

    table = stream = queue = NAME

    def __init__(self, stack: LocalStack) -> None:
        self._lambda = stack.client("lambda")
        kinesis, dynamodb = stack.client("kinesis"), stack.client("dynamodb")
        kinesis.create_stream(StreamName=NAME, ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName=NAME)
        self._stream_arn = kinesis.describe_stream(StreamName=NAME)["StreamDescription"]["StreamARN"]
        keys = {"symbol": "HASH", "timestamp": "RANGE"}
        self._table_stream_arn = dynamodb.create_table(
            TableName=NAME,
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )["TableDescription"]["LatestStreamArn"]
        stack.client("s3").create_bucket(Bucket=NAME)
        topic = self._topic(stack)
        role = self._role(stack)
        settings = {"TABLE_NAME": NAME, "BUCKET_NAME": NAME, "SNS_TOPIC_ARN": topic}
        for function in ("ProcessStockData", "StockTrendAnalysis"):
            package = io.BytesIO()
            with zipfile.ZipFile(package, "w") as archive:
                archive.write(TUTORIAL, "tutorial.py")
                archive.writestr(
                    "lambda_function.py", f"import tutorial\nlambda_handler = tutorial.{function}()\n"
                )
            self._lambda.create_function(
                FunctionName=f"{NAME}{function}",
                Runtime="python3.13",
                Role=role,
                Handler="lambda_function.lambda_handler",
                Code={"ZipFile": package.getvalue()},
                Environment={"Variables": settings},
                Timeout=60,
            )

    def _topic(self, stack: LocalStack) -> str:
        sqs, sns = stack.client("sqs"), stack.client("sns")
        topic = sns.create_topic(Name=NAME)["TopicArn"]
        url = sqs.create_queue(QueueName=NAME)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return topic

    def _role(self, stack: LocalStack) -> str:
        iam = stack.client("iam")
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        documents = [
            json.dumps({"Version": "2012-10-17", "Statement": [part]}) for part in (trust, everything)
        ]
        role = iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=documents[0])["Role"]["Arn"]
        iam.put_role_policy(RoleName=NAME, PolicyName=NAME, PolicyDocument=documents[1])
        return role

    @contextmanager
    def mappings(self) -> Iterator[None]:
        """Both triggers, for new records. What is not through at the end is left."""
        sources = {"ProcessStockData": self._stream_arn, "StockTrendAnalysis": self._table_stream_arn}
        made = [
            self._lambda.create_event_source_mapping(
                FunctionName=f"{NAME}{function}",
                EventSourceArn=arn,
                StartingPosition="LATEST",
                BatchSize=BATCH,
            )["UUID"]
            for function, arn in sources.items()
        ]
        yield
        for uuid in made:
            self._lambda.delete_event_source_mapping(UUID=uuid)

    def producer(self, symbols: list[str], delay: float) -> list[str]:
        """The command of the tutorial's producer."""
        return [sys.executable, str(TUTORIAL), ",".join(symbols), str(delay)]
