#!/usr/bin/env python3
"""Breaks the running local stack in every way that can happen, and counts what was lost.

usage: python bench/chaos.py [--seed N] [--symbols N]

Two producers poll a stand-in for Yahoo once a second. Some symbols are on both watchlists, some on one alone.
Meanwhile, in an order and for times that the seed decides: a producer is killed (-9), the emulator is stopped
and started again, the network between producers and stream is cut, and slowed, the topic refuses alerts, the
disk of a spool is full, the functions are deployed anew, and setup.sh runs. Then the books must be right: a
quote that was fetched is stored once and archived, and each crossover was alerted. An alert may come twice
when its batch was in work as the emulator stopped: the function marks an alert as sent after it has sent it.
Exit status 1 if something is lost or wrong. Needs Linux, and takes some three minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from local_stack import ROOT, Key, LocalStack, books, print_verdict
from network import Network

from helpers.yahoo import YahooStandIn

FUNCTIONS = {"ProcessStockData": "process_stock_data.py", "StockTrendAnalysis": "stock_trend_analysis.py"}
TREND_ROLE = "StockTrendLambdaRole"

# The producer. Each tick that it has fetched is printed once it is kept, or could not be kept.
PRODUCER = """
import json, sys
import stream_stock_data as producer
spool_new = producer.Producer.spool_new

def noted(self, ticks):
    new = [tick for tick in ticks if not self.checkpoint.has(tick)]
    try:
        return spool_new(self, ticks)
    finally:
        for tick in new:
            print(json.dumps([tick["symbol"], tick["timestamp"]]), flush=True)

producer.Producer.spool_new = noted
sys.exit(producer.main())
"""


class Chaos:
    """The stack, its two producers, and all that can go wrong."""

    def __init__(self, stack: LocalStack, yahoo: YahooStandIn, network: Network, symbols: list[str]) -> None:
        self.stack, self.network, self._symbols = stack, network, symbols
        self._environment = yahoo.environment | {
            "AWS_ENDPOINT_URL": network.endpoint,
            "PYTHONPATH": str(ROOT),
        }
        self.fetched: set[Key] = set()
        self.log = (stack.folder / "producers.log").open("w")
        self.producers = {name: self.produce(name) for name in ("producer-1", "producer-2")}

    def produce(self, name: str, *flags: str) -> subprocess.Popen:
        """Start a producer."""

        def note(line: str) -> None:
            if line.startswith("["):
                self.fetched.add(tuple(json.loads(line)))
            else:
                self.log.write(f"{name}: {line}")
                self.log.flush()

        own = [f"{symbol}-{name[-1]}" for symbol in self._symbols[:2]]
        symbols = ",".join([*self._symbols, *own])
        command = [sys.executable, "-c", PRODUCER, "--delay", "1", "--symbols", symbols, *flags]
        return self.stack.run(name, command, note, **self._environment)

    def watch(self, seconds: float) -> None:
        """Wait. A producer that has ended is started again, as a service would do it."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(1, left))
            for name, process in self.producers.items():
                if process.poll() is not None:
                    print(f"         {name} has ended with status {process.returncode}: started again")
                    self.producers[name] = self.produce(name)

    def finish(self) -> None:
        """End both producers as Ctrl-C does, and let the next run of each send what waits."""
        for process in self.producers.values():
            process.send_signal(signal.SIGINT)
        for name, process in self.producers.items():
            process.wait(timeout=60)
            self.produce(name, "--once").wait(timeout=60)

    # What can go wrong. Each of these takes `seconds` or a little more, and leaves everything mended.

    def kill_a_producer(self, seconds: float) -> None:
        self.producers["producer-1"].kill()
        self.watch(seconds)

    def restart_the_emulator(self, seconds: float) -> None:
        self.stack.stop()
        self.watch(seconds)
        self.stack.start()

    def cut_the_network(self, seconds: float) -> None:
        self.network.cut()
        self.watch(seconds)
        self.network.is_cut = False

    def slow_the_network(self, seconds: float) -> None:
        self.network.delay = 0.7
        self.watch(seconds)
        self.network.delay = 0

    def break_sns(self, seconds: float) -> None:
        iam = self.stack.client("iam")
        (policy,) = iam.list_role_policies(RoleName=TREND_ROLE)["PolicyNames"]
        whole = iam.get_role_policy(RoleName=TREND_ROLE, PolicyName=policy)["PolicyDocument"]
        kept = [part for part in whole["Statement"] if "sns:Publish" not in json.dumps(part)]
        assert len(kept) < len(whole["Statement"])
        for document, pause in ((whole | {"Statement": kept}, seconds), (whole, 0)):
            text = json.dumps(document)
            iam.put_role_policy(RoleName=TREND_ROLE, PolicyName=policy, PolicyDocument=text)
            self.watch(pause)

    def fill_the_disk(self, seconds: float) -> None:
        pid = self.producers["producer-2"].pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        self.watch(seconds)
        if self.producers["producer-2"].pid == pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))

    def deploy_the_functions(self, seconds: float) -> None:
        for name, file in FUNCTIONS.items():
            package = io.BytesIO()
            with zipfile.ZipFile(package, "w") as archive:
                code = (ROOT / "lambdas" / file).read_text()
                archive.writestr("lambda_function.py", f"{code}\n# {time.time()}\n")
            self.stack.client("lambda").update_function_code(FunctionName=name, ZipFile=package.getvalue())
        self.watch(seconds)

    def run_setup(self, seconds: float) -> None:
        self.stack.script("setup.sh")
        self.watch(seconds)


FAULTS = [
    Chaos.kill_a_producer,
    Chaos.restart_the_emulator,
    Chaos.cut_the_network,
    Chaos.slow_the_network,
    Chaos.break_sns,
    Chaos.fill_the_disk,
    Chaos.deploy_the_functions,
    Chaos.run_setup,
]


def main() -> int:
    """Run, break, judge; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=5, help="on both watchlists; each has 2 more")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    symbols = [f"S{number:03}" for number in range(arguments.symbols)]
    with (
        tempfile.TemporaryDirectory() as folder,
        YahooStandIn(Path(folder) / "yahoo") as yahoo,
        LocalStack(Path(folder)) as stack,
        Network(stack.port) as network,
    ):
        chaos, start = Chaos(stack, yahoo, network, symbols), time.monotonic()
        chaos.watch(25)  # then the first averages are there
        for fault in rng.sample(FAULTS, len(FAULTS)):
            seconds = rng.uniform(2, 8)
            print(f"{time.monotonic() - start:6.1f} s {fault.__name__.replace('_', ' ')}", flush=True)
            fault(chaos, seconds)
            chaos.watch(rng.uniform(1, 5))
        chaos.watch(5)
        chaos.finish()
        verdict = books(stack, chaos.fetched)
    print_verdict(verdict)
    is_good = not verdict.lost and not verdict.wrong
    is_good = is_good and verdict.counts["repeated alerts"] <= arguments.symbols
    print(f"seed {arguments.seed}: {len(FAULTS)} faults{' survived' if is_good else ''}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
