"""Checks the address of a chat or web hook, and keeps the list of all. Secrets come on standard input.

    addresses.py check KIND [CHAT]    stdin: the URL (a bot's token for telegram)
    addresses.py add KIND [CHAT]      stdin: the same line, then the list; prints the list with it
    addresses.py remove KIND          stdin: an id, a URL or a telegram chat, then the list; prints the rest
    addresses.py list                 stdin: the list; prints kind, host and id of each, tab-separated

Exit status 1 with one line on standard error, which never holds an address, when something is wrong.
"""

import json
import secrets
import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

TELEGRAM = "https://api.telegram.org"
ROOM = 4096  # bytes that a standard parameter holds, which is free
WRONG = (401, 403, 404, 410)
SOURCE = {"telegram": "@BotFather", "slack": "Slack (Incoming Webhooks)", "discord": "Discord (Webhooks)"}


def address_of(kind: str, secret: str, chat: str) -> dict[str, str]:
    """What is kept of an address; ValueError says what is wrong with it."""
    if kind == "telegram":
        if not secret:
            raise ValueError("telegram: set TELEGRAM_TOKEN or type the bot's token (@BotFather gives it)")
        return {"kind": kind, "url": f"{TELEGRAM}/bot{quote(secret, safe=':')}/sendMessage", "chat": chat}
    try:
        url = urlsplit(secret)
        has_port = url.port != 0  # ValueError when it is no number
    except ValueError:
        url, has_port = urlsplit(""), False
    if not secret.isascii() or not secret.isprintable() or " " in secret or len(secret) > 1000:
        raise ValueError(f"{kind}: expected a URL of up to 1000 plain characters, without spaces")
    if url.scheme != "https" or not url.hostname or not has_port:
        raise ValueError(f"{kind}: expected a URL that begins with https://")
    if "@" in url.netloc or url.fragment:
        raise ValueError(f"{kind}: expected a URL without a user, a password or a #")
    return {"kind": kind, "url": secret}


def check(address: dict[str, str]) -> None:
    """Ask the service whether it knows the address, if that sends no message; ValueError if it does not."""
    kind, url = address["kind"], address["url"]
    if kind == "telegram":
        query = urlencode({"chat_id": address["chat"]})
        request = Request(f"{url.removesuffix('sendMessage')}getChat?{query}")
    elif kind == "slack":  # it answers 400 to a message without text
        request = Request(url, b"{}", {"Content-Type": "application/json"})
    elif kind == "discord":
        request = Request(url, headers={"User-Agent": "stock-market-streaming"})
    else:
        return
    try:
        urlopen(request, timeout=10).close()
    except HTTPError as error:
        if kind == "telegram" and error.code == 400:
            raise ValueError(
                f"telegram: the bot does not know the chat {address['chat']}: write to it first"
            ) from None
        if error.code in WRONG:
            secret = "token" if kind == "telegram" else "address"
            raise ValueError(
                f"{kind}: {urlsplit(url).hostname} refuses this {secret} ({error.code}): "
                f"copy it again from {SOURCE[kind]}"
            ) from None
    except (OSError, HTTPException):
        raise ValueError(f"{kind}: {urlsplit(url).hostname} does not answer: is the network up?") from None


def added(address: dict[str, str], addresses: list[dict]) -> list[dict]:
    """The list with the address. It takes the place, and the id, of one to the same chat or URL.

    ValueError when the list no longer fits into the parameter.
    """
    place = "chat" if address["kind"] == "telegram" else "url"
    for number, other in enumerate(addresses):
        if other["kind"] == address["kind"] and other[place] == address[place]:
            return [*addresses[:number], {"id": other["id"]} | address, *addresses[number + 1 :]]
    longer = [*addresses, {"id": secrets.token_hex(3)} | address]
    if len(json.dumps(longer)) >= ROOM:
        raise ValueError(f"there is no room for another address ({ROOM} bytes): unsubscribe one first")
    return longer


def removed(kind: str, name: str, addresses: list[dict]) -> list[dict]:
    """The list without the address of this id, URL or chat; ValueError when there is none."""
    names = ("id", "url", "chat")
    rest = [a for a in addresses if a["kind"] != kind or name not in [a.get(each) for each in names]]
    if len(rest) == len(addresses):
        raise ValueError(f"{kind}: no such address is subscribed: scripts/alerts.sh list shows the ids")
    return rest


def main(command: str, kind: str = "", chat: str = "") -> str:
    """What a command prints."""
    secret = sys.stdin.readline().strip() if command in ("check", "add", "remove") else ""
    addresses = json.loads(sys.stdin.read().strip() or "[]") if command != "check" else []
    if command == "check":
        check(address_of(kind, secret, chat))
    elif command == "add":
        return json.dumps(added(address_of(kind, secret, chat), addresses))
    elif command == "remove":
        return json.dumps(removed(kind, secret, addresses))
    elif command == "list":
        return "\n".join(f"{a['kind']}\t{urlsplit(a['url']).hostname}\t{a['id']}" for a in addresses)
    return ""


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"error: {error}")
