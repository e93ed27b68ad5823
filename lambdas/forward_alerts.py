"""ForwardAlerts: post each alert to Slack, Discord, Telegram, ntfy and other web hooks.

Paste this file into the Lambda console as lambda_function.py (Python 3.13, nothing to add) and subscribe it
to the topic of the alerts, with the filter {"audience": ["all", "digest"]}. All addresses are tried at the
same time. One that gives no answer, or answers 429 or 5xx, gets the alert later:

- If all of them failed, the invocation fails, and Lambda repeats it after one minute and after two more.
- If only some failed, the function hands the alert to itself again, for these alone. So nobody gets it twice,
  unless an answer was lost, or the function died between the first message and the hand-over.
- After the last attempt Lambda stores the alert in the bucket, for scripts/redrive.sh.

An address that refuses the alert (401, 404, a redirect and the like) is named in the log and not asked again.
No line of the log and no error holds an address: only its kind, its id and its host.

Environment: ADDRESSES_PARAMETER, the name of an SSM parameter (SecureString) with a JSON list of
{"id": "3f9a2c", "kind": "slack", "url": "https://…"}; with the kind telegram also "chat", the id of a chat.
"""

import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

if not os.environ.get("ADDRESSES_PARAMETER"):
    raise KeyError("set ADDRESSES_PARAMETER in the function's configuration, as an environment variable")
ADDRESSES_PARAMETER = os.environ["ADDRESSES_PARAMETER"]

TIMEOUT = 10  # seconds without an answer
RESERVE = TIMEOUT + 5  # seconds that a last attempt and the hand-over may take
PASSING = {0, 408, 425, 429}  # with the statuses from 500 on: worth another attempt. 0: no answer
# Bytes of text that each service takes: https://docs.slack.dev/reference/methods/chat.postMessage#truncating,
# https://discord.com/developers/docs/resources/webhook#execute-webhook,
# https://core.telegram.org/bots/api#sendmessage, https://docs.ntfy.sh/publish/#limitations
LONGEST = {"slack": 4_000, "discord": 2_000, "telegram": 4_096, "ntfy": 4_000}

logger = logging.getLogger()
logger.setLevel(logging.INFO)
config = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=2, read_timeout=5)
ssm = boto3.client("ssm", config=config)
functions = boto3.client("lambda", config=config)


def shortened(text: str, longest: int) -> str:
    """The text, or as many of its whole lines as fit into so many bytes of UTF-8, and a last line "…"."""
    data = text.encode()
    if len(data) <= longest:
        return text
    head = data[: longest - 4].decode(errors="ignore")
    return (head.rpartition("\n")[0] or head) + "\n…"


def body_for(address: dict[str, str], alert: dict[str, Any]) -> tuple[str, bytes]:
    """The content type and the body that this kind of address takes: the alert as text, or as JSON."""
    kind = address["kind"]
    if kind == "webhook":
        return "application/json", json.dumps(alert).encode()
    text = f"{alert['message']}\n{alert['timestamp'][:16].replace('T', ' ')} UTC. No investment advice."
    if kind == "slack":  # https://docs.slack.dev/messaging/formatting-message-text#escaping
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = shortened(text, LONGEST[kind])
    if kind == "ntfy":
        return "text/plain; charset=utf-8", text.encode()
    fields = {
        "slack": {"text": text},
        "discord": {"content": text, "allowed_mentions": {"parse": []}},
        "telegram": {"chat_id": address.get("chat"), "text": text},
    }
    return "application/json", json.dumps(fields[kind]).encode()


def seconds_to_wait(header: str | None, answer: bytes) -> float:
    """How long a server that answers 429 asks to wait: in seconds, as a date or, Telegram, in its answer."""
    try:
        if header and header[0].isdigit():
            return max(1.0, float(header))
        if header:
            return max(1.0, parsedate_to_datetime(header).timestamp() - time.time())
        return max(1.0, float(json.loads(answer)["parameters"]["retry_after"]))
    except (ValueError, TypeError, KeyError):
        return 1.0


def post(address: dict[str, str], alert: dict[str, Any]) -> tuple[int, float, str]:
    """Post once, over https, and follow no redirect. Returns status, wait asked for, and a word to log."""
    connection = None
    try:
        content_type, body = body_for(address, alert)
        url = urlsplit(address["url"])
        target = (url.path or "/") + ("?" + url.query if url.query else "")
        connection = HTTPSConnection(url.hostname, url.port, timeout=TIMEOUT)
        headers = {"Content-Type": content_type, "User-Agent": "ForwardAlerts"}  # Discord wants some agent
        connection.request("POST", target, body, headers)
        response = connection.getresponse()
        answer = response.read(10_000)
        wait = seconds_to_wait(response.getheader("Retry-After"), answer)
        return response.status, wait, str(response.status)
    except (OSError, HTTPException, ValueError, KeyError) as error:  # its text may hold the address
        return 0, 0.0, type(error).__name__
    finally:
        if connection:
            connection.close()


def deliver(address: dict[str, str], alert: dict[str, Any], until: float) -> bool:
    """Post an alert to an address, and keep to its Retry-After while there is time. False: try later."""
    status, wait, words = post(address, alert)
    while status == 429 and time.monotonic() + wait < until:
        time.sleep(wait)
        status, wait, words = post(address, alert)
    name = f"{address['kind']} {address['id']} {urlsplit(address['url']).hostname}"
    if 200 <= status < 300:
        logger.info("%s: sent", name)
    elif status in PASSING or status >= 500:
        logger.warning("%s: %s, to be tried again", name, words)
        return False
    else:
        logger.error("%s: refused with %s, and not tried again: is the address still right?", name, words)
    return True


def read_addresses() -> list[dict[str, str]]:
    """All addresses, read anew each time, so that a change counts at once. (Standard parameters are free.)"""
    answer = ssm.get_parameter(Name=ADDRESSES_PARAMETER, WithDecryption=True)
    return json.loads(answer["Parameter"]["Value"])


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Post the alert in an SNS event. Returns how many addresses are done with and how many follow later.

    Raises RuntimeError if no address is done with, so that Lambda repeats the event.
    """
    try:
        alert = json.loads(event["Records"][0]["Sns"]["Message"])
        logger.info("to be sent: %s", alert["message"].partition("\n")[0])
    except (KeyError, TypeError, IndexError, ValueError, AttributeError):
        raise ValueError("not an alert from SNS (Records[0].Sns.Message): add the topic as trigger") from None
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE
    ids = event.get("addresses")  # in an event that this function has handed to itself
    addresses = [each for each in read_addresses() if ids is None or each["id"] in ids]
    if not addresses:
        return {"done": 0, "later": 0}
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        done = list(pool.map(lambda address: deliver(address, alert, until), addresses))
    later = [address["id"] for address, is_done in zip(addresses, done, strict=True) if not is_done]
    if len(later) == len(addresses):
        raise RuntimeError(f"none of {len(later)} addresses took the alert: see the log, Lambda tries again")
    if later:  # fewer each time, so this ends
        rest = json.dumps(event | {"addresses": later})
        functions.invoke(FunctionName=context.invoked_function_arn, InvocationType="Event", Payload=rest)
    return {"done": len(addresses) - len(later), "later": len(later)}
