"""scripts/run_local.sh in the background, in a copy of the checkout that need not install anything."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
import venv
from contextlib import contextmanager

RUN_SECONDS = 120


def make_venv(root):
    """A .venv with all packages of this Python, which run_local.sh takes for one that it has made."""
    environment = root / ".venv"
    venv.create(environment, symlinks=True, with_pip=False)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "all.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    (environment / "bin" / "pip").write_text(f"#!{environment}/bin/python\n")
    (environment / "bin" / "aws").write_text('#!/bin/sh\nexec "${0%/*}/python" -m awscli "$@"\n')
    (environment / "bin" / "aws").chmod(0o755)
    (environment / "installed" / "requirements").mkdir(parents=True)
    files = [root / "requirements.txt", *sorted((root / "requirements").glob("*.txt"))]
    for path in files:
        marker = environment / "installed" / path.relative_to(root)
        marker.write_text("".join(file.read_text() for file in files))


def clean_environment(**more):
    """The environment of a user who has AWS settings of another kind."""
    return {
        "HOME": "/nonexistent",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "AWS_PROFILE": "some-other-account",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
    } | more


class Run:
    """A run_local.sh in the background, and the lines it has printed so far."""

    def __init__(self, root, *arguments):
        self.lines = []
        self.process = subprocess.Popen(
            [root / "scripts" / "run_local.sh", *arguments],
            cwd=root.parent,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    @property
    def text(self):
        return "".join(self.lines)

    def wait_for(self, pattern):
        """The match, once it is printed."""
        deadline = time.monotonic() + RUN_SECONDS
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text}"
            assert self.process.poll() is None, f"ended without {pattern!r}:\n{self.text}"
            time.sleep(0.1)
        return found

    def wait(self):
        """The exit status."""
        status = self.process.wait(timeout=RUN_SECONDS)
        self._reader.join(timeout=10)
        return status

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()


@contextmanager
def running(root, *arguments):
    """A Run that is stopped at the end."""
    run = Run(root, *arguments)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.stop()
