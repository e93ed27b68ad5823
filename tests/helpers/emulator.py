"""A MiniStack for one test: real processes and sockets on loopback, with IAM enforced."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from helpers.checkout import ROOT

ACCOUNT_ID = "000000000000"


def free_port() -> int:
    """A free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def aws_environment(endpoint: str | None = None) -> dict[str, str]:
    """The environment of this process, with the emulator's AWS settings instead of its own."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") or name == "AWS_CA_BUNDLE"
    }
    clean |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if endpoint:
        clean["AWS_ENDPOINT_URL"] = endpoint
    return clean


def emulator_client(endpoint: str, service: str, region: str = "us-east-1", **options: Any) -> Any:
    """A boto3 client of an emulator, as the owner of its account. `options` are boto3's own."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        **options,
    )


@contextmanager
def ministack(directory: Path, *, enforce_iam: bool = True, keep: bool = False) -> Iterator[str]:
    """Run MiniStack with its files under `directory`. Yields its endpoint URL, and ends it afterwards.

    With `keep` it goes on from the state that it finds there, and leaves its own there at the end.
    """
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    directory.mkdir(parents=True, exist_ok=True)
    launcher = [sys.executable, ROOT / "scripts/lib/local/emulator.py", directory, str(port)]
    flags = ["--no-iam"] * (not enforce_iam) + ["--forget"] * (not keep)
    with (directory / "ministack.log").open("w") as log:
        process = subprocess.Popen(
            [*launcher, *flags],
            env=aws_environment(endpoint),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
        try:
            wait_until_it_answers(f"{endpoint}/_ministack/health", process, directory / "ministack.log")
            yield endpoint
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_it_answers(url: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until a new server answers. If it ends or takes a minute, raise RuntimeError with its log."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()}")
