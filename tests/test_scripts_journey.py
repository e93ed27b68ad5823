"""The scripts on moto's server under AWS's own rules, step by step of one journey (helpers/journey.py)."""

from __future__ import annotations

import json
import re

import pytest

from helpers.journey import BOUNDARY, ROLES

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("journey")]
MORE_IN_US = "More of the project is in us-east-1, and stays there: "
MORE_IN_US += "AWS_REGION=us-east-1 scripts/cleanup.sh removes it."


def test_every_step_succeeds_but_those_with_something_wrong(journey):
    failed = {name: done.stderr for name, done in journey.steps.items() if done.returncode}
    assert set(failed) == {
        "set-up over a bucket",
        "query",
        "setup.sh elsewhere",
        "doctor.sh elsewhere",
        "monitoring.sh --budget 9 elsewhere",
        "doctor of a sick one",
        "doctor of another stream",
        "redrive of a batch",
        "on demand again",
        "far too many shards",
    }, failed


def test_set_up_makes_everything_and_a_second_time_changes_nothing(journey):
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
    sick = journey.steps["doctor of a sick one"]
    (wrong,) = [line for line in sick.stdout.splitlines() if line.startswith("WRONG")]
    assert "kinesis start-stream-encryption" in wrong
    assert "stream other" in journey.steps["doctor of another stream"].stdout


def test_scripts_for_operating_do_their_work(journey):
    assert "up to date" in journey.steps["deployment"].stderr
    assert "function ProcessStockData: code updated" in journey.steps["deployment of a change"].stderr
    assert "No failed batches." in journey.steps["redrive"].stderr
    assert "my-alerts" in journey.steps["subscriptions"].stdout
    assert "CloudWatch alarms, 10" in journey.steps["monitoring"].stdout
    assert len(journey.there["before"]["alarms"]) == 8
    assert {"trails", "queues"} <= journey.there["before"].keys()


def test_chats_come_and_go_with_all_that_they_need(journey):
    there = journey.there["chats"]
    assert {"ForwardAlerts", "ForwardAlertsRole policy", "retries", "addresses"} <= there.keys()
    assert len(there["alarms"]) == 10
    assert "function ForwardAlerts: deleted" in journey.steps["end of ntfy"].stderr
    assert not [name for name in journey.there["before"] if name.startswith("Forward")]


def test_set_up_goes_on_when_lambda_does_not_know_the_roles_yet(journey):
    assert "without" not in journey.steps["set-up"].stderr


def test_set_up_in_a_second_region_is_refused_by_name_and_makes_nothing(journey):
    done = journey.steps["setup.sh elsewhere"]
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: role {ROLES[0]}, role {ROLES[1]}: your stack is in us-east-1")
    assert "correct AWS_REGION" in last
    assert journey.there["streams elsewhere"] == []


def test_bucket_of_another_region_is_refused_and_never_deleted(journey):
    refused = journey.steps["set-up over a bucket"]
    assert "error: bucket my-ticks: your stack is in us-east-1" in refused.stderr
    assert journey.there["bucket of another region"] == ["my-ticks"]


def test_nothing_that_is_done_in_a_second_region_touches_the_first(journey):
    assert journey.there["before"]["budgets"] == ["stock-market-streaming"]
    assert journey.there["before"]["dashboards"] == ["stock-market-streaming"]
    assert journey.there["after"] == journey.there["before"]


def test_doctor_in_a_second_region_names_the_mistake_and_no_set_up(journey):
    done = journey.steps["doctor.sh elsewhere"]
    (wrong,) = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong.endswith("your stack is in us-east-1: correct AWS_REGION")
    assert "setup.sh" not in done.stdout


def test_cleanup_in_a_second_region_finds_nothing_and_says_which_stack_stays(journey):
    done = journey.steps["cleanup.sh --yes elsewhere"]
    assert done.stderr.splitlines()[1:] == [
        "Nothing of the project is in eu-west-1.",
        MORE_IN_US,
    ]


def test_shards_change_in_steps_that_aws_takes(journey):
    steps = re.findall(r"(\d+) shard\(s\)\n", journey.steps["more shards"].stderr)
    assert steps == ["2", "4", "5"]
    steps = re.findall(r"(\d+) shard\(s\)\n", journey.steps["provisioned"].stderr)
    assert steps == ["3", "2", "1"]
    assert journey.there["shards"]["provisioned"] == 1


def test_reached_limit_of_changes_is_told_with_its_number_and_what_to_do(journey):
    mode = journey.steps["on demand again"]
    assert "twice in 24 hours" in mode.stderr
    assert "STREAM_MODE=PROVISIONED" in mode.stderr
    count = journey.steps["far too many shards"]
    (line,) = [line for line in count.stderr.splitlines() if "10 times in 24 hours" in line]
    assert "has 16 shard(s)" in line
    assert "SHARD_COUNT=16" in line


def test_cleanup_asks_again_what_was_refused_and_believes_no_tag_of_what_is_gone(journey):
    done = journey.steps["clean-up"]
    assert done.stderr.splitlines()[-1] == "Nothing of the project is left in us-east-1, by name and by tag."
    assert journey.there["clean-up"] == {}


def test_permissions_boundary_is_given_to_both_roles(journey):
    boundaries = [role["PermissionsBoundary"] for role in journey.there["roles again"]]
    assert [each["PermissionsBoundaryArn"] for each in boundaries] == [BOUNDARY["PERMISSIONS_BOUNDARY"]] * 2
    assert not any("PermissionsBoundary" in role for role in journey.there["roles"])


def test_clean_up_names_the_other_region_in_which_a_bucket_is_left(journey):
    assert journey.steps["clean-up of the other region"].stderr.splitlines()[-2:] == [
        "Nothing of the project is left in eu-west-1, by name and by tag.",
        MORE_IN_US,
    ]
    assert "More of the project" not in journey.steps["clean-up"].stderr


def test_region_without_arm64_gets_x86_64_and_is_told(journey):
    assert len(re.findall("on x86_64.*no arm64 in eu-west-1", journey.steps["move"].stderr)) == 2
    assert journey.there["architectures"] == [["x86_64"], ["x86_64"]]
    assert not re.search("created|x86_64", journey.steps["move again"].stderr)
    assert journey.there["streams at the end"] == []


def test_refused_condition_is_dropped_once_and_the_doctor_tells_it(journey):
    first, second = journey.steps["move"], journey.steps["move again"]
    assert first.stderr.count("AWS refuses the condition aws:SourceAccount") == 2
    trusts = [role["AssumeRolePolicyDocument"] for role in journey.there["roles"]]
    assert "Condition" not in json.dumps(trusts)
    assert "trust policy" not in second.stderr
    assert [role["AssumeRolePolicyDocument"] for role in journey.there["roles again"]] == trusts
    doctor = journey.steps["doctor after the move"]
    assert doctor.stdout.count("trusts Lambda without the condition aws:SourceAccount") == 2


def test_role_that_lambda_cannot_assume_while_it_polls_loses_the_condition_once(own_deployed):
    result = '"LastProcessingResult": "'
    own_deployed.put_in_front_of_aws(
        "*'list-event-source-mappings --event-source-arn'*)\n"
        f'  $AWS "$@" | sed \'s/{result}[^"]*/{result}PROBLEM: Lambda cannot assume the role/\'\n'
        "  exit ;;"
    )
    first = own_deployed.succeed("setup.sh")
    assert first.stderr.count("AWS refuses the condition aws:SourceAccount") == 2
    second = own_deployed.succeed("setup.sh")
    assert second.stderr.count("which AWS has refused") == 2
    assert "AWS refuses the condition" not in second.stderr
