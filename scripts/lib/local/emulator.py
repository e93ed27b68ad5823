"""Runs MiniStack, the AWS emulator, on 127.0.0.1 until it is ended.

    emulator.py FOLDER PORT [--forget] [--no-iam]

    FOLDER    its files: state/ and s3/, with which the next run goes on, and tmp/
    --forget  keep no state
    --no-iam  let every call through, instead of enforcing the policies

Run it with a Python that has MiniStack's packages.
"""

import os
import sys

folder, port, *flags = sys.argv[1:]
temporary = os.path.join(folder, "tmp")
os.makedirs(temporary, exist_ok=True)
keep = "0" if "--forget" in flags else "1"
os.environ |= {
    "AUTH": "false" if "--no-iam" in flags else "true",
    "BIND_HOST": "127.0.0.1",
    "GATEWAY_PORT": port,
    "IOT_MTLS_ENABLED": "0",  # this service would listen on all interfaces
    "LOG_LEVEL": "INFO",  # watch.py reads the log
    "PERSIST_STATE": keep,
    "S3_PERSIST": keep,
    "STATE_DIR": os.path.join(folder, "state"),
    "S3_DATA_DIR": os.path.join(folder, "s3"),
    "TMPDIR": temporary,
}
# Without DuckDB it would answer queries with made-up rows; so they fail until DuckDB is installed.
os.environ.setdefault("ATHENA_ENGINE", "duckdb")
sys.argv[1:] = []  # MiniStack has arguments of its own

from ministack.app import main  # noqa: E402  (it reads the environment when it is imported)
from patches import patch_ministack  # noqa: E402

patch_ministack()
main()
