"""scripts/policies/setup.json and operations.json: what a user of the scripts needs, and no more than that.

The set-up that most tests of the scripts begin with (conftest.py) is made by a user with setup.json alone.
"""

from __future__ import annotations

import json
import re

import pytest

from helpers.checkout import ROOT, as_list
from helpers.mocked_aws import LOADER
from helpers.project_copy import as_user

SERVICES = {"s3api": "s3", "resourcegroupstaggingapi": "tag", "pinpoint-sms-voice-v2": "sms-voice"}
# What IAM calls otherwise than the API, by the words of the command:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
OTHERWISE = {
    "budgets create-budget": {"ModifyBudget"},
    "budgets delete-budget": {"ModifyBudget"},
    "budgets describe-budget": {"ViewBudget"},
    "budgets update-budget": {"ModifyBudget"},
    "cloudtrail create-trail": {"CreateTrail", "AddTags"},
    "lambda invoke": {"InvokeFunction"},
    "s3api delete-objects": {"DeleteObject", "DeleteObjectVersion"},
    "s3api get-bucket-encryption": {"GetEncryptionConfiguration"},
    "s3api get-bucket-lifecycle-configuration": {"GetLifecycleConfiguration"},
    "s3api get-bucket-notification-configuration": {"GetBucketNotification"},
    "s3api get-public-access-block": {"GetBucketPublicAccessBlock"},
    "s3api list-buckets": {"ListAllMyBuckets"},
    "s3api list-multipart-uploads": {"ListBucketMultipartUploads"},
    "s3api list-object-versions": {"ListBucketVersions"},
    "s3api list-objects-v2": {"ListBucket"},
    "s3api put-bucket-encryption": {"PutEncryptionConfiguration"},
    "s3api put-bucket-lifecycle-configuration": {"PutLifecycleConfiguration"},
    "s3api put-bucket-notification-configuration": {"PutBucketNotification"},
    "s3api put-public-access-block": {"PutBucketPublicAccessBlock"},
}
# What no command names.
MORE = {
    "iam:PassRole": "create-function gives the role to Lambda",
    "glue:GetPartitions": "Athena reads the table with the rights of who queries",
    "s3:GetBucketPolicy": "the scripts ask for it on AWS alone: a plain http bucket has no policy for TLS",
    "s3:PutObject": "Athena writes the result with the rights of who queries",
    **dict.fromkeys(
        [
            *(
                "dynamodb:TagResource",
                "glue:TagResource",
                "iam:TagRole",
                "sns:TagResource",
                "athena:TagResource",
            ),
            *("logs:TagResource", "cloudwatch:TagResource", "sqs:TagQueue", "ssm:AddTagsToResource"),
        ],
        "what is made is made with its tag",
    ),
}


def allowed(name: str) -> set[str]:
    policy = json.loads((ROOT / "scripts/policies" / name).read_text())
    return {action for statement in policy["Statement"] for action in as_list(statement["Action"])}


def recorded() -> set[str]:
    """The commands that tests have seen the scripts run: cli_v2_flags.json lists them."""
    return set(json.loads((ROOT / "tests/helpers/cli_v2_flags.json").read_text()))


def written() -> set[str]:
    """The commands that stand in the scripts, with those that are only advised."""
    services = "|".join(sorted({command.split()[0] for command in recorded()} | {"ssm"}))
    pattern = rf"\b((?:{services}) (?:wait )?[a-z]+(?:-[a-z0-9]+)*)"
    texts = [path.read_text() for path in (ROOT / "scripts").rglob("*.sh")]
    return {command for text in texts for command in re.findall(pattern, text)} | {"lambda invoke"}


def actions_of(commands: set[str]) -> set[str]:
    """What IAM calls these commands."""
    actions = set()
    for command in commands:
        service, *_, operation = command.split()
        service_model = {"s3api": "s3"}.get(service, service)
        if " wait " in command:
            waiters = LOADER.load_service_model(service_model, "waiters-2")["waiters"]
            (found,) = [each for name, each in waiters.items() if name.lower() == operation.replace("-", "")]
            names = {found["operation"]}
        else:
            names = OTHERWISE.get(command) or {
                name
                for name in LOADER.load_service_model(service_model, "service-2")["operations"]
                if name.lower() == operation.replace("-", "")
            }
        names = {re.sub(r"^HeadBucket$", "ListBucket", name) for name in names}
        actions |= {f"{SERVICES.get(service, service)}:{name}" for name in names}
    return actions


@pytest.mark.parametrize("name", ["setup.json", "operations.json"])
def test_each_action_that_is_allowed_is_used(name):
    assert allowed(name) - actions_of(recorded() | written()) - MORE.keys() == set()


def test_each_action_that_is_used_is_allowed():
    needs_no_permission = {"sts:GetCallerIdentity"}
    missing = actions_of(recorded()) - allowed("setup.json") - allowed("operations.json")
    assert missing == needs_no_permission


@pytest.mark.emulator
def test_user_with_both_policies_can_do_all_that_the_scripts_do(own_deployed):
    user = as_user(own_deployed, "setup.json", "operations.json")
    for script, *arguments in (
        ["setup.sh"],
        ["deploy_lambdas.sh"],
        ["redrive.sh"],
        ["alerts.sh", "subscribe", "sqs", "alerts"],
        ["alerts.sh", "test"],
        ["monitoring.sh", "--cloudtrail", "--budget", "5"],
        ["doctor.sh"],
        ["cleanup.sh", "--yes"],
    ):
        done = user.run(script, *arguments)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        assert not re.search("not allowed|AccessDenied", done.stdout + done.stderr)
