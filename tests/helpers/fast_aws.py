"""The real AWS CLI (v1), kept loaded: some 25 ms a command instead of 400.

The `aws` that `fast_aws` puts on a PATH hands its arguments to a server that has the modules and service
models of the CLI loaded; one of its workers runs the command as the CLI itself would.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SERVICES = "athena budgets cloudtrail cloudwatch dynamodb glue iam kinesis lambda logs"
SERVICES += " resourcegroupstaggingapi s3 sns sqs ssm sts"

# Python without site-packages and with built-in modules only starts in 9 ms. Counting and failing happen
# here, so that a test can stop a script at its k-th command: AWS_FAIL_AT=k fails that command, before AWS
# sees it or (AWS_FAIL_AFTER) after.
CLIENT = """#!{python} -ISE
import _socket, fcntl, marshal, os, sys
number = 0
if log := os.environ.get("AWS_CALL_LOG"):
    with open(log, "a+") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        number = len(calls.readlines()) + 1
        calls.write(" ".join(word.replace("\\n", " ") for word in sys.argv[1:]) + "\\n")
fails = number and os.environ.get("AWS_FAIL_AT") == str(number)
if fails and not os.environ.get("AWS_FAIL_AFTER"):
    sys.exit("injected: the command did not reach AWS")
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
request = marshal.dumps((sys.argv[1:], dict(os.environ), os.getcwd()))
lost = os.open(os.devnull, os.O_WRONLY) if fails else None
descriptors = b"".join(each.to_bytes(4, sys.byteorder) for each in (0, lost or 1, lost or 2))
server.sendmsg([len(request).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
server.sendall(request)
status = server.recv(1)
if fails:
    sys.exit("injected: the answer was lost")
sys.exit(status[0] if status else 255)
"""


# These leave something behind in the CLI's session (where a body is to go, timeouts): their worker ends.
LEAVES_TRACES = {"get-object", "invoke", "--cli-connect-timeout", "--cli-read-timeout"}


def serve(address: str) -> None:
    """Accept commands on the Unix socket `address` until killed. An idle worker runs each of them."""
    import awscli.clidriver

    driver = awscli.clidriver.create_clidriver()
    for kind in ("service-2", "waiters-2", "paginators-1"):
        driver.session.get_component("data_loader").list_available_services(kind)
    for service in SERVICES.split():
        driver.session.create_client(service, region_name="us-east-1")
        driver._get_command_table()["s3api" if service == "s3" else service]._get_command_table()
    gc.collect()
    gc.freeze()  # the workers share this memory, because the collector no longer touches it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    selector, idle = selectors.DefaultSelector(), []
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for channel in [key.fileobj for key, _ in selector.select()]:
            if channel is listener:
                connection, _ = listener.accept()
                worker = idle.pop() if idle else _start_worker(driver, selector)
                socket.send_fds(worker, [b"."], [connection.fileno()])
                connection.close()
            elif channel.recv(1):
                idle.append(channel)
            else:
                selector.unregister(channel)
                channel.close()


def _start_worker(driver: object, selector: selectors.BaseSelector) -> socket.socket:
    """Fork a worker. It gets connections, runs the command of each, and says when it is idle."""
    here, there = socket.socketpair()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for inherited in [key.fileobj for key in selector.get_map().values()]:
            inherited.close()
        here.close()
        while (message := socket.recv_fds(there, 1, 1))[0] and _run(
            driver, socket.socket(fileno=message[1][0])
        ):
            there.send(b".")
        os._exit(0)
    there.close()
    selector.register(here, selectors.EVENT_READ)
    return here


def _run(driver: object, connection: socket.socket) -> bool:
    """Run the command of a connection. Returns whether this worker can run another one."""
    header, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    size, body = int.from_bytes(header, "big"), b""
    while len(body) < size:
        body += connection.recv(65536)
    arguments, environment, folder = marshal.loads(body)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    driver.session._credentials = None  # they belong to the environment of the last command
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    status, can_go_on = 255, not LEAVES_TRACES.intersection(arguments)

    def run(words: list[str]) -> int:
        driver.session._session_instance_vars.clear()
        return driver.main(words)

    try:
        if rules := environment.get("STRICT_AWS"):
            import strict_aws  # beside this file, which runs alone

            status = strict_aws.run_strictly(run, rules, arguments)
        else:
            status = run(arguments)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 255
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            can_go_on = False  # the rest of this input would reach the next command
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):  # the reader of the output waits until it is closed
        os.dup2(nothing, standard)
    os.close(nothing)
    with contextlib.suppress(OSError), connection:
        connection.sendall(bytes([status % 256]))
    return can_go_on


@contextlib.contextmanager
def fast_aws(directory: Path) -> Iterator[Path]:
    """Yields a folder to put first on the PATH. Its `aws` works as long as the context is open."""
    from helpers.emulator import aws_environment  # here, because the server below runs this file alone

    folder = directory / "fast-aws"
    folder.mkdir(parents=True)
    address = str(folder / "socket")
    (folder / "python").symlink_to(sys.executable)  # its own path may hold a space, which #! cannot take
    (folder / "aws").write_text(CLIENT.format(python=folder / "python", address=address))
    (folder / "aws").chmod(0o755)
    process = subprocess.Popen([sys.executable, __file__, address], env=aws_environment())
    try:
        deadline = time.monotonic() + 60
        while not Path(address).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the AWS CLI server did not start")
            time.sleep(0.02)
        yield folder
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    serve(sys.argv[1])
