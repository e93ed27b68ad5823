"""Whether the producer would run as a service: with these flags, .env, and nothing of this shell.

    check.py STATE_FOLDER [PRODUCER_FLAG…]

STATE_FOLDER is used instead of the producer's own, unless it is empty. If the producer would not run, a
message says why, and the status is not 0.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
import stream_stock_data as producer  # noqa: E402

# What a service gets from the system.
OF_THE_SYSTEM = ("HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR")
# What the producer, boto3 and the client of Yahoo follow.
FOLLOWED = re.compile(
    "STOCK_SYMBOLS?|DELAY_SECONDS|STATE_DIR|STREAM_NAME|HEARTBEAT_URL|AWS_(?!DEFAULT_(REGION|OUTPUT)|PAGER).*"
    "|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|(REQUESTS|CURL)_CA_BUNDLE|SSL_CERT_(FILE|DIR)"
)


def only_in_shell(shell: Mapping[str, str], service: Mapping[str, str]) -> list[str]:
    """The names of the variables that the producer would follow in this shell, and not as a service."""
    return sorted(
        name
        for name, value in shell.items()
        if value and FOLLOWED.fullmatch(name) and service.get(name) != value
    )


def main(state_folder: str, flags: list[str]) -> None:
    """Do all that the producer does before its first poll."""
    shell = dict(os.environ)
    os.environ.clear()
    os.environ |= {name: shell[name] for name in OF_THE_SYSTEM if name in shell}
    os.chdir(ROOT)
    producer.load_settings(ROOT / ".env")
    if names := only_in_shell(shell, os.environ):
        raise producer.CannotRun(
            f"{', '.join(names)}: set in this shell, but a service does not see it. Set it in .env (keys: "
            "`aws configure`), or unset it here"
        )
    if state_folder:
        os.environ["STATE_DIR"] = state_folder
    producer.make_producer(producer.parse_arguments(flags), producer.Clock(), lambda text: None)


if __name__ == "__main__":
    _, state_folder, *flags = sys.argv
    sys.argv[0] = "stream_stock_data.py"  # so that its usage has this name
    try:
        main(state_folder, flags)
    except SystemExit as end:
        sys.exit(end.code or 1)  # --help starts nothing
    except producer.CannotRun as error:
        sys.exit(f"error: {error}")
