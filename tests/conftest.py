"""Fixtures: credentials → mock AWS → tables, bucket, topic as deployed → handlers imported in the mock."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.request import Request, urlopen

import pytest
import time_machine
from filelock import FileLock

from helpers.aws_faults import FaultyAws
from helpers.checkout import load_module
from helpers.emulator import aws_environment, ministack
from helpers.fast_aws import fast_aws
from helpers.journey import Journey, moto_account, travel
from helpers.memory_dynamodb import MemoryDynamoDB
from helpers.mocked_aws import Bucket, Table, Topic, quick_moto, resource
from helpers.project_copy import (
    SUBSCRIBERS,
    Project,
    account,
    account_like,
    as_user,
    copy_project,
    project_at,
)
from helpers.trend import START

NOW = "2026-11-20T20:00:00Z"  # a Friday in New York's trading hours


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking again and again at the modules, which stay."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the modules go in good order at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def quick_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to put first on the PATH: its `aws` is the real CLI v1, kept loaded."""
    with fast_aws(tmp_path_factory.mktemp("cli")) as folder:
        yield folder


@pytest.fixture
def copy(tmp_path) -> Path:
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def emptied(tmp_path_factory) -> Iterator[str]:
    """The endpoint of a MiniStack that each test leaves empty."""
    with ministack(tmp_path_factory.mktemp("emptied")) as endpoint:
        yield endpoint


@pytest.fixture
def project(tmp_path, quick_cli, emptied) -> Iterator[Project]:
    """The project with an empty account."""
    yield project_at(emptied, tmp_path / "project", quick_cli)
    urlopen(Request(f"{emptied}/_ministack/reset", method="POST")).close()


@pytest.fixture(scope="session")
def set_up_once(tmp_path_factory, quick_cli) -> Path:
    """A folder with MiniStack's state after one set-up, and the set-up's output. One worker makes it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # its folder lies in that of the run, which all workers share
        folder = folder.parent
    folder = folder / "set_up_once"
    with FileLock(f"{folder}.lock"):
        if not (folder / "said").exists():
            with account(folder, quick_cli, keep=True) as project:
                project = as_user(project, "setup.json")
                done = project.succeed("setup.sh", **SUBSCRIBERS)
            (folder / "commands").write_text(project.calls.read_text())
            (folder / "said").write_text(done.stdout)
    return folder


@pytest.fixture(scope="session")
def deployed(tmp_path_factory, quick_cli, set_up_once) -> Iterator[Project]:
    """The project after one set-up, for tests that leave it as it is."""
    with account_like(set_up_once, tmp_path_factory.mktemp("deployed"), quick_cli) as project:
        yield project


@pytest.fixture
def own_deployed(tmp_path, quick_cli, set_up_once) -> Iterator[Project]:
    """The project after one set-up, for a test that changes it."""
    with account_like(set_up_once, tmp_path, quick_cli) as project:
        yield project


@pytest.fixture(scope="session")
def journey(tmp_path_factory, quick_cli) -> Journey:
    """The results of the scripts on moto's server. Tests that use it belong to the xdist_group "journey"."""
    with moto_account(tmp_path_factory.mktemp("journey"), quick_cli) as project:
        return travel(project)


@pytest.fixture
def offline(copy, tmp_path) -> Project:
    """The project with an `aws` whose every command fails with the text in $AWS_SAYS."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "aws").write_text("#!/bin/sh\nprintf '\\n%s\\n' \"$AWS_SAYS\" >&2\nexit 255\n")
    (folder / "aws").chmod(0o755)
    environment = aws_environment()
    return Project(
        copy, environment | {"PATH": f"{folder}{os.pathsep}{environment['PATH']}", "AWS_SAYS": "called"}
    )


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up credentials and a region."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Coordinates]:
    """A clock that stands still at NOW. A sleep moves it on at once."""
    with time_machine.travel(NOW, tick=False) as traveller:
        monkeypatch.setattr(time, "sleep", traveller.shift)
        yield traveller


@pytest.fixture
def faults() -> Iterator[FaultyAws]:
    """The path from botocore to moto, on which calls can fail."""
    with FaultyAws().installed() as faulty:
        yield faulty


@pytest.fixture
def mocked_aws(aws_credentials: None, clock: time_machine.Coordinates, faults: FaultyAws) -> Iterator[None]:
    """AWS, played by moto."""
    with quick_moto():
        yield


@pytest.fixture
def ticks_table(mocked_aws: None) -> Table:
    """The table of ticks, empty."""
    return Table("ticks_table")


@pytest.fixture
def alerts_table(mocked_aws: None) -> Table:
    """The table of alerts, empty."""
    return Table("alerts_table")


@pytest.fixture
def bucket(mocked_aws: None) -> Bucket:
    """The bucket, empty."""
    return Bucket()


@pytest.fixture
def topic(mocked_aws: None) -> Topic:
    """The topic and a queue that is subscribed to it."""
    return Topic()


@pytest.fixture
def load_handler(
    mocked_aws: None, faults: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ModuleType]:
    """Imports a handler inside the mock: load_handler("process_stock_data", ANOMALY_PERCENT="3")."""

    def load(name: str, **settings: str) -> ModuleType:
        for variable, value in (resource(name)["Environment"]["Variables"] | settings).items():
            monkeypatch.setenv(variable, value)
        module = load_module(f"lambdas/{name}.py")
        faults.calls.clear()
        return module

    return load


@pytest.fixture
def process_stock_data(
    load_handler: Callable[..., ModuleType], ticks_table: Table, bucket: Bucket
) -> ModuleType:
    """The handler ProcessStockData with all it needs."""
    return load_handler("process_stock_data")


@pytest.fixture
def stock_trend_analysis(
    load_handler: Callable[..., ModuleType], ticks_table: Table, alerts_table: Table, topic: Topic
) -> ModuleType:
    """The handler StockTrendAnalysis with all it needs."""
    return load_handler("stock_trend_analysis")


@pytest.fixture
def memory(stock_trend_analysis: ModuleType, monkeypatch, clock) -> MemoryDynamoDB:
    """The handler's tables and topic in memory, and a time at which no tick of the first hour is too old."""
    memory = MemoryDynamoDB()
    monkeypatch.setattr(stock_trend_analysis, "dynamodb", memory)
    monkeypatch.setattr(stock_trend_analysis, "sns", SimpleNamespace(publish=memory.publish))
    clock.move_to(START + timedelta(minutes=10))
    return memory
