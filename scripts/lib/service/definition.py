"""The definition of the service that runs the producer: a systemd user unit, or a launchd agent.

definition.py FILE CHECKOUT [PRODUCER_FLAG…]    writes FILE: NAME.service or NAME.plist
definition.py --checkout FILE                   prints which checkout's producer FILE runs
"""

from __future__ import annotations

import plistlib
import re
import sys
from pathlib import Path

RESTART_SECONDS = 30
UNIT = """\
[Unit]
Description=Stock quotes from Yahoo Finance to Kinesis
X-Checkout={checkout}
# It never gives up, however often the producer fails.
StartLimitIntervalSec=0

[Service]
WorkingDirectory={folder}
ExecStart=@{program} {arguments}
# A producer that was stopped, or has made its --count of polls, stays ended. One that fails or is killed
# comes back, but wrong flags (status 2) do not mend themselves.
Restart=on-failure
RestartSec={seconds}
RestartPreventExitStatus=2

[Install]
WantedBy=default.target
"""


def unit(checkout: str, flags: list[str]) -> bytes:
    """A systemd unit.

    @ gives the program and its name apart, because systemd expands variables in the name alone:
    https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html#Command%20lines
    """
    if re.search(r"""["'\\]""", checkout):
        sys.exit(f"error: systemd runs no program whose path holds a quote or a backslash: {checkout}")
    command = [f"{checkout}/.venv/bin/python", f"{checkout}/stream_stock_data.py", *flags]
    text = UNIT.format(
        checkout=checkout,
        folder=checkout.replace("%", "%%"),
        program=quoted(command[0]),
        arguments=" ".join(quoted(word).replace("$", "$$") for word in command),
        seconds=RESTART_SECONDS,
    )
    return text.encode()


def quoted(word: str) -> str:
    """A word that systemd reads back as it is.

    https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html#Quoting
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def agent(label: str, checkout: str, flags: list[str], log: Path) -> bytes:
    """A launchd agent; `man launchd.plist` explains the keys."""
    return plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": [
                f"{checkout}/.venv/bin/python",
                f"{checkout}/stream_stock_data.py",
                *flags,
            ],
            "WorkingDirectory": checkout,
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RESTART_SECONDS,
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
        }
    )


def checkout_of(file: Path) -> str:
    """The folder of the producer that a definition runs."""
    if file.suffix == ".plist":
        return plistlib.loads(file.read_bytes())["WorkingDirectory"]
    found = re.search(r"^X-Checkout=(.*)$", file.read_text(), re.MULTILINE)
    return found[1] if found else ""


def main(file: Path, checkout: str, flags: list[str]) -> None:
    """Write a definition, whole or not at all."""
    if any(not word.isprintable() for word in (checkout, *flags)):
        sys.exit("error: a flag, or the path of this checkout, holds a control character")
    if file.suffix == ".plist":
        data = agent(file.stem, checkout, flags, Path.home() / "Library/Logs" / f"{file.stem}.log")
    else:
        data = unit(checkout, flags)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    new.write_bytes(data)
    new.replace(file)


if __name__ == "__main__":
    if sys.argv[1] == "--checkout":
        print(checkout_of(Path(sys.argv[2])))
    else:
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
