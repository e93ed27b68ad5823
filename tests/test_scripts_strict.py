"""The scripts under rules of AWS's that emulators do not have (strict_aws.py)."""

from __future__ import annotations

import json
import re

import pytest

from helpers.journey import Journey, moto_account
from helpers.project_copy import BUCKET, Project, snapshot
from helpers.strict_aws import make_strict

pytestmark = [pytest.mark.emulator, pytest.mark.xdist_group("strict")]
ROLES = ("Lambda_Kinesis_DynamoDB_Role", "StockTrendLambdaRole")
BOUNDARY = {"PERMISSIONS_BOUNDARY": "arn:aws:iam::000000000000:policy/boundary"}
MORE_IN_US = "More of the project is in us-east-1, and stays there: "
MORE_IN_US += "AWS_REGION=us-east-1 scripts/cleanup.sh removes it."
EUROPE = {"AWS_REGION": "eu-west-1"}


def bucket_of_another_region(journey: Journey, project: Project) -> list[str]:
    """Set up and clean up in Europe with the name of a bucket in the United States; what is left of it."""
    s3 = project.client("s3")
    s3.create_bucket(Bucket="my-ticks")
    tags = {"TagSet": [{"Key": "project", "Value": "stock-market-streaming"}]}
    s3.put_bucket_tagging(Bucket="my-ticks", Tagging=tags)
    journey.go("set-up over a bucket", project, "setup.sh", **EUROPE, BUCKET_NAME="my-ticks")
    journey.go("clean-up over a bucket", project, "cleanup.sh", "--yes", **EUROPE, BUCKET_NAME="my-ticks")
    left = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket="my-ticks")
    return left


def shards(project: Project) -> int:
    stream = project.client("kinesis").describe_stream_summary(StreamName="Stock-market-stream")
    return stream["StreamDescriptionSummary"]["OpenShardCount"]


def of_the_account(project: Project) -> dict[str, object]:
    """What belongs to the whole account, budget and dashboard included."""
    budgets = project.client("budgets").describe_budgets(AccountId="000000000000").get("Budgets", [])
    dashboards = project.client("cloudwatch").list_dashboards()["DashboardEntries"]
    return snapshot(project) | {
        "budgets": [budget["BudgetName"] for budget in budgets],
        "dashboards": [dashboard["DashboardName"] for dashboard in dashboards],
    }


@pytest.fixture(scope="module")
def strict(tmp_path_factory, quick_cli):
    """The project on moto's server under these rules."""
    with moto_account(tmp_path_factory.mktemp("strict"), quick_cli) as project:
        make_strict(project)
        yield project


@pytest.fixture(scope="module")
def journey(strict) -> Journey:
    """A set-up, all that can be done with a mistaken region, other settings, and a move to that region."""
    journey = Journey()
    there = journey.there
    there["bucket of another region"] = bucket_of_another_region(journey, strict)
    journey.go("set-up", strict, "setup.sh")
    journey.go("monitoring", strict, "monitoring.sh", "--budget", "5")
    there["before"] = of_the_account(strict)
    for script, *arguments in (
        ["setup.sh"],
        ["doctor.sh"],
        ["monitoring.sh", "--budget", "9"],
        ["monitoring.sh", "--remove"],
        ["cleanup.sh", "--yes"],
    ):
        journey.go(f"{' '.join([script, *arguments])} elsewhere", strict, script, *arguments, **EUROPE)
    there["after"] = of_the_account(strict)
    there["streams elsewhere"] = strict.client("kinesis", "eu-west-1").list_streams()["StreamNames"]

    there["shards"] = {}
    for name, settings in {
        "more shards": {"SHARD_COUNT": "5"},
        "on demand": {"STREAM_MODE": "ON_DEMAND"},
        "provisioned": {"STREAM_MODE": "PROVISIONED", "SHARD_COUNT": "1"},
        "on demand again": {"STREAM_MODE": "ON_DEMAND"},
        "far too many shards": {"SHARD_COUNT": "99"},
    }.items():
        journey.go(name, strict, "setup.sh", **settings)
        there["shards"][name] = shards(strict)

    journey.go("clean-up", strict, "cleanup.sh", "--yes")
    there["clean-up"] = {name: value for name, value in of_the_account(strict).items() if value}
    journey.go("move", strict, "setup.sh", **EUROPE, **BOUNDARY, NO_ARM64="eu-west-1")
    there["boundaries"] = [
        strict.client("iam").get_role(RoleName=role)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        for role in ROLES
    ]
    there["architectures"] = [
        function["Architectures"]
        for function in strict.client("lambda", "eu-west-1").list_functions()["Functions"]
    ]
    journey.go("move again", strict, "setup.sh", **EUROPE, NO_ARM64="eu-west-1")
    strict.client("s3").create_bucket(Bucket=BUCKET)
    journey.go("clean-up of the other region", strict, "cleanup.sh", "--yes", **EUROPE)
    there["streams at the end"] = strict.client("kinesis", "eu-west-1").list_streams()["StreamNames"]
    return journey


def test_set_up_goes_on_when_lambda_does_not_know_the_roles_yet(journey):
    assert journey.steps["set-up"].returncode == 0, journey.steps["set-up"].stderr
    assert "without" not in journey.steps["set-up"].stderr


def test_set_up_in_a_second_region_is_refused_by_name_and_makes_nothing(journey):
    done = journey.steps["setup.sh elsewhere"]
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: role {ROLES[0]}, role {ROLES[1]}: your stack is in us-east-1")
    assert "correct AWS_REGION" in last
    assert journey.there["streams elsewhere"] == []


def test_bucket_of_another_region_is_refused_and_never_deleted(journey):
    refused = journey.steps["set-up over a bucket"]
    assert refused.returncode == 1
    assert "error: bucket my-ticks: your stack is in us-east-1" in refused.stderr
    assert journey.steps["clean-up over a bucket"].returncode == 0
    assert journey.there["bucket of another region"] == ["my-ticks"]


def test_nothing_that_is_done_in_a_second_region_touches_the_first(journey):
    assert journey.there["before"]["budgets"] == ["stock-market-streaming"]
    assert journey.there["before"]["dashboards"] == ["stock-market-streaming"]
    assert journey.there["after"] == journey.there["before"]


def test_doctor_in_a_second_region_names_the_mistake_and_no_set_up(journey):
    done = journey.steps["doctor.sh elsewhere"]
    assert done.returncode == 1
    (wrong,) = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong.endswith("your stack is in us-east-1: correct AWS_REGION")
    assert "setup.sh" not in done.stdout


def test_cleanup_in_a_second_region_finds_nothing_and_says_which_stack_stays(journey):
    done = journey.steps["cleanup.sh --yes elsewhere"]
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[1:] == [
        "Nothing of the project is in eu-west-1.",
        MORE_IN_US,
    ]


def test_shards_change_in_steps_that_aws_takes(journey):
    for name in ("more shards", "on demand", "provisioned"):
        assert journey.steps[name].returncode == 0, journey.steps[name].stderr
    steps = re.findall(r"(\d+) shard\(s\)\n", journey.steps["more shards"].stderr)
    assert steps == ["2", "4", "5"]
    steps = re.findall(r"(\d+) shard\(s\)\n", journey.steps["provisioned"].stderr)
    assert steps == ["3", "2", "1"]
    assert journey.there["shards"]["provisioned"] == 1


def test_reached_limit_of_changes_is_told_with_its_number_and_what_to_do(journey):
    mode = journey.steps["on demand again"]
    assert mode.returncode == 1
    assert "twice in 24 hours" in mode.stderr
    assert "STREAM_MODE=PROVISIONED" in mode.stderr
    count = journey.steps["far too many shards"]
    assert count.returncode == 1
    (line,) = [line for line in count.stderr.splitlines() if "10 times in 24 hours" in line]
    assert "has 16 shard(s)" in line
    assert "SHARD_COUNT=16" in line


def test_cleanup_asks_again_what_was_refused_and_believes_no_tag_of_what_is_gone(journey):
    done = journey.steps["clean-up"]
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "Nothing of the project is left in us-east-1, by name and by tag."
    assert journey.there["clean-up"] == {}


def test_permissions_boundary_is_given_to_both_roles(journey):
    assert journey.there["boundaries"] == [BOUNDARY["PERMISSIONS_BOUNDARY"]] * 2


def test_clean_up_names_the_other_region_in_which_a_bucket_is_left(journey):
    assert journey.steps["clean-up of the other region"].stderr.splitlines()[-2:] == [
        "Nothing of the project is left in eu-west-1, by name and by tag.",
        MORE_IN_US,
    ]
    assert "More of the project" not in journey.steps["clean-up"].stderr


def test_region_without_arm64_gets_x86_64_and_is_told(journey):
    for name in ("move", "move again", "clean-up of the other region"):
        assert journey.steps[name].returncode == 0, journey.steps[name].stderr
    assert len(re.findall("on x86_64.*no arm64 in eu-west-1", journey.steps["move"].stderr)) == 2
    assert journey.there["architectures"] == [["x86_64"], ["x86_64"]]
    assert not re.search("created|updated|x86_64", journey.steps["move again"].stderr)
    assert journey.there["streams at the end"] == []


def test_refused_condition_is_dropped_once_and_the_doctor_tells_it(tmp_path, quick_cli):
    with moto_account(tmp_path, quick_cli) as project:
        make_strict(project)
        first = project.succeed("setup.sh", REFUSE_CONDITION="1")
        assert first.stderr.count("AWS refuses the condition aws:SourceAccount") == 2
        iam = project.client("iam")
        for role in ROLES:
            trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
            assert "Condition" not in json.dumps(trust)
        second = project.succeed("setup.sh", REFUSE_CONDITION="1", **BOUNDARY)
        assert "trust policy" not in second.stderr
        for role in ROLES:
            found = iam.get_role(RoleName=role)["Role"]
            assert found["AssumeRolePolicyDocument"] == trust
            assert found["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY["PERMISSIONS_BOUNDARY"]
        doctor = project.succeed("doctor.sh", **BOUNDARY)
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
