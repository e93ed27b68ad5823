"""The scripts against moto's server, step by step of one journey (journey.py)."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("journey")]


def test_every_step_succeeds_but_those_with_something_wrong(journey):
    failed = {name: done.stderr for name, done in journey.steps.items() if done.returncode}
    assert set(failed) == {
        "doctor of a sick one",
        "doctor of another stream",
        "redrive of a batch",
        "query",
    }, failed


def test_set_up_makes_everything_and_a_second_time_changes_nothing(journey):
    assert journey.steps["set-up"].returncode == 0, journey.steps["set-up"].stderr
    assert journey.steps["second set-up"].returncode == 0, journey.steps["second set-up"].stderr
    there = journey.there["set-up"]
    for name in (
        "stream",
        "stock-market-data",
        "topic",
        "ProcessStockData mappings",
        "glue table",
        "workgroup",
    ):
        assert name in there
    assert len(there["subscriptions"]["Subscriptions"]) == 2
    assert journey.there["second set-up"] == there
    dry = journey.steps["dry run"]
    assert [line for line in dry.stdout.splitlines() if not line.startswith("# ")] == [
        "export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
    ]


def test_doctor_finds_all_well_and_then_the_one_thing_that_was_changed(journey):
    assert "WRONG" not in journey.steps["doctor"].stdout
    assert journey.steps["doctor"].returncode == 0
    sick = journey.steps["doctor of a sick one"]
    assert sick.returncode == 1
    (wrong,) = [line for line in sick.stdout.splitlines() if line.startswith("WRONG")]
    assert "kinesis start-stream-encryption" in wrong
    assert "stream other" in journey.steps["doctor of another stream"].stdout


def test_scripts_for_operating_do_their_work(journey):
    assert "up to date" in journey.steps["deployment"].stderr
    assert "function ProcessStockData: code updated" in journey.steps["deployment of a change"].stderr
    assert "No failed batches." in journey.steps["redrive"].stderr
    assert journey.steps["subscription"].returncode == 0, journey.steps["subscription"].stderr
    assert "my-alerts" in journey.steps["subscriptions"].stdout
    assert journey.steps["test alert"].returncode == 0, journey.steps["test alert"].stderr
    assert "CloudWatch dashboard: https://" in journey.steps["monitoring"].stdout
    assert len(journey.there["monitoring"]["alarms"]) == 8


def test_clean_up_leaves_nothing(journey):
    done = journey.steps["clean-up"]
    assert done.returncode == 0, done.stderr
    assert "Nothing of the project is left in us-east-1, by name and by tag." in done.stderr
    assert journey.there["clean-up"] == {}
