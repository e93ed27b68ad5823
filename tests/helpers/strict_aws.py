"""Rules of AWS's that emulators do not have, for the CLI that fast_aws.py keeps loaded.

- UpdateShardCount takes at most twice and at least half of the open shards, 10 times a day; the mode of a
  stream changes twice a day.
  https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html
- CloudWatch dashboards belong to the whole account, as roles do.
- A batch of more than 10 records needs a window of at least 1 second.
- Lambda refuses a role once before it knows it, and for ever while AWS_REFUSE_CONDITION is set and the role's
  trust policy has the condition.
- The regions in AWS_NO_ARM64 have no arm64.
- Each deletion is refused at first, with the errors that its service has for this.
- GetResources goes on listing what was deleted.

They hold for a project after `make_strict`: $AWS_STRICT names the folder in which they remember things. Its
`sleep` takes no time, so no test waits when the scripts do.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from helpers.project_copy import Project

BUSY = {
    "delete-alarms": "ResourceConflict",
    "delete-bucket": "OperationAborted BucketNotEmpty",
    "delete-dashboards": "ConflictException",
    "delete-database": "ConcurrentModificationException",
    "delete-event-source-mapping": "ResourceInUseException",
    "delete-function": "ResourceConflictException",
    "delete-log-group": "OperationAbortedException",
    "delete-role": "ConcurrentModification",
    "delete-stream": "ResourceInUseException",
    "delete-table": "ResourceInUseException",
    "delete-topic": "ConcurrentAccess",
    "delete-trail": "ConflictException",
}


def make_strict(project: Project) -> None:
    """Let these rules hold for the project's `aws`."""
    folder = project.folder / "strict"
    folder.mkdir()
    (folder / "sleep").write_text("#!/bin/sh\n")
    (folder / "sleep").chmod(0o755)
    project.environment["PATH"] = f"{folder}{os.pathsep}{project.environment['PATH']}"
    project.environment["AWS_STRICT"] = str(folder)


class Command:
    """A command of the AWS CLI as it comes in. `run` is the CLI: it takes words and returns a status."""

    def __init__(self, run: Callable[[list[str]], int], folder: str, words: list[str]) -> None:
        self.run, self.folder, self.words = run, folder, words
        self.endpoint = words[:2] if words[:1] == ["--endpoint-url"] else []
        self.service, self.operation, *self.rest = [*words[len(self.endpoint) :], "", ""]
        self.region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")

    def flag(self, name: str) -> str:
        """The value after a flag, or nothing."""
        return self.rest[self.rest.index(name) + 1] if name in self.rest else ""

    def ask(self, *question: str) -> Any:
        """What the emulator answers to another command."""
        with contextlib.redirect_stdout(io.StringIO()) as answer, contextlib.redirect_stderr(io.StringIO()):
            self.run([*self.endpoint, *question, "--output", "json"])
        return json.loads(answer.getvalue() or "null")

    def refuse(self, code: str, message: str) -> NoReturn:
        print(f"\nAn error occurred ({code}) when calling {self.operation}: {message}", file=sys.stderr)
        sys.exit(255)

    def count(self, name: str) -> int:
        """How often this has been counted by now, this time included."""
        with open(os.path.join(self.folder, "counts"), "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read().splitlines().count(name)
            file.write(f"{name}\n")
        return before + 1

    def check(self) -> None:
        """Refuse what AWS would refuse."""
        if self.operation == "update-shard-count":
            self.check_shards()
        elif self.operation == "update-stream-mode":
            if self.count(f"mode of {self.flag('--stream-arn')}") > 2:
                self.refuse("LimitExceededException", "more than twice in 24 hours")
        elif self.operation == "create-function":
            self.check_architecture()
            self.check_role(self.settings()["Role"])
        elif self.operation == "create-event-source-mapping":
            self.check_window()
            function = self.ask("lambda", "get-function", "--function-name", self.flag("--function-name"))
            self.check_role(function["Configuration"]["Role"])
        elif self.operation == "update-event-source-mapping":
            self.check_window()
        elif self.operation in BUSY:
            codes = BUSY[self.operation].split()
            if (time := self.count(f"{self.region} {' '.join(self.words)}")) <= len(codes):
                self.refuse(codes[time - 1], "busy")

    def check_shards(self) -> None:
        stream = self.flag("--stream-name")
        answer = self.ask("kinesis", "describe-stream-summary", "--stream-name", stream)
        shards = answer["StreamDescriptionSummary"]["OpenShardCount"]
        target = int(self.flag("--target-shard-count"))
        if target > 2 * shards or 2 * target < shards:
            self.refuse("LimitExceededException", f"{target} of {shards}: at most double, at least half")
        if self.count(f"shards of {self.region} {stream}") > 10:
            self.refuse("LimitExceededException", "more than 10 times in 24 hours")

    def check_architecture(self) -> None:
        regions = os.environ.get("AWS_NO_ARM64", "").split()
        if self.flag("--architectures") == "arm64" and self.region in regions:
            self.refuse(
                "InvalidParameterValueException",
                f'Architecture "arm64" is not supported in {self.region}. Please select "x86_64"',
            )

    def check_role(self, arn: str) -> None:
        name = arn.rpartition("/")[2]
        trust = json.dumps(self.ask("iam", "get-role", "--role-name", name))
        is_refused = "AWS_REFUSE_CONDITION" in os.environ and "aws:SourceAccount" in trust
        if self.count(f"{self.operation} with {name}") == 1 or is_refused:
            self.refuse(
                "InvalidParameterValueException",
                "The role defined for the function cannot be assumed by Lambda.",
            )

    def check_window(self) -> None:
        wanted = self.settings()
        if wanted["BatchSize"] > 10 and not wanted.get("MaximumBatchingWindowInSeconds"):
            self.refuse("InvalidParameterValueException", "Maximum batch window must be greater than 0")

    def settings(self) -> dict[str, Any]:
        return json.loads(self.flag("--cli-input-json"))

    def list_all_that_ever_was(self) -> int:
        """GetResources with what it has listed before."""
        with contextlib.redirect_stdout(io.StringIO()) as answer:
            status = self.run(self.words)
        with open(os.path.join(self.folder, f"arns-{self.region}"), "a+") as file:
            file.seek(0)
            before = file.read().splitlines()
            new = [arn for arn in answer.getvalue().splitlines() if arn not in before]
            file.writelines(f"{arn}\n" for arn in new)
        print("\n".join(before + new))
        return status


def run_strictly(run: Callable[[list[str]], int], folder: str, words: list[str]) -> int:
    """Run a command of the CLI as AWS would. Returns its status, or ends with that of a refusal."""
    command = Command(run, folder, words)
    command.check()
    if command.operation == "get-resources":
        return command.list_all_that_ever_was()
    if command.service == "cloudwatch" and "dashboard" in command.operation:
        return run([*words, "--region", "us-east-1"])
    return run(words)
