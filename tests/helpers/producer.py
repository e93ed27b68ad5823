"""The producer as a process of its own, forked from a Python that has its packages loaded: 0.1 s, not 1 s."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.checkout import ROOT

SCRIPT = ROOT / "stream_stock_data.py"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["boto3", "dotenv", "rich.progress", "yfinance"])


class Producer:
    """A producer in the background. What it prints goes to files in a folder."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], flags: tuple[str, ...], script: Path, driver: str
    ) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._out.touch()
        self._err.touch()
        self._process = FORKS.Process(
            target=_play, args=(self._out, self._err, dict(environment), [str(script), *flags], driver)
        )
        self._process.start()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """Its errors and warnings so far."""
        return self._err.read_text()

    @property
    def said(self) -> str:
        """Both."""
        return self.stdout + self.stderr

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """The exit status, or the negative number of the signal that killed it."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still runs after {seconds} s: {self.said}"
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def running(
    environment: Mapping[str, str], *flags: str, script: Path = SCRIPT, driver: str = ""
) -> Iterator[Producer]:
    """A producer that runs meanwhile and is killed afterwards, if it still runs.

    driver: statements to run first, for constants to shorten; `producer` is the module.
    """
    with TemporaryDirectory() as folder:
        producer = Producer(Path(folder), environment, flags, script, driver)
        try:
            yield producer
        finally:
            producer.kill()


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def _play(out: Path, err: Path, environment: dict[str, str], argv: list[str], driver: str) -> None:
    """Become `python SCRIPT FLAG…` with this environment and these files as the standard streams."""
    for path, descriptor in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for name in [name for name in sys.modules if name.partition(".")[0] == "yfinance"]:
        del sys.modules[name]  # reads the environment while it is imported; its dependencies stay loaded
    sys.argv = argv
    sys.path.insert(0, str(Path(argv[0]).parent))
    if driver:
        import stream_stock_data

        exec(driver, {"producer": stream_stock_data})
        sys.exit(stream_stock_data.main())
    runpy.run_path(argv[0], run_name="__main__")
