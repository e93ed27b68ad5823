"""Reads what Lambda stores about a failed batch, writes its event to a file, and prints one line about it.

    failed_batch.py RECORD EVENT

The line: "kinesis", "dynamodb" or "sns" (the source), then how many records of which shard, since when, and
why Lambda gave them up. Exit status 1, with the reason on standard output, when RECORD does not hold a whole
batch.
https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

import json
import sys
from pathlib import Path


def read(record: dict) -> tuple[str, dict]:
    """The line about a failed batch, and its event; KeyError or ValueError when this is not one."""
    why = record.get("requestContext", {}).get("condition", "unknown reason")
    if "requestPayload" in record:
        event = record["requestPayload"]
        alert = json.loads(event["Records"][0]["Sns"]["Message"])
        to = f"{len(event['addresses'])} of the addresses" if "addresses" in event else "all addresses"
        return f"sns {alert['message'].splitlines()[0]}, for {to}: {why}", event
    source, batch = "kinesis", record.get("KinesisBatchInfo")
    if batch is None:
        source, batch = "dynamodb", record["DDBStreamBatchInfo"]
    payload = record["payload"]
    event = json.loads(payload) if isinstance(payload, str) else payload
    if not event.get("Records"):
        raise ValueError("no records in it")
    since = batch.get("approximateArrivalOfFirstRecord", "?")
    shard = batch.get("shardId", "?")
    return f"{source} {len(event['Records'])} record(s) of {shard} since {since}: {why}", event


if __name__ == "__main__":
    try:
        line, event = read(json.loads(Path(sys.argv[1]).read_text()))
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        print(f"not the record of a failed batch ({error!r}): look at it, then delete it")
        sys.exit(1)
    Path(sys.argv[2]).write_text(json.dumps(event))
    print(line)
