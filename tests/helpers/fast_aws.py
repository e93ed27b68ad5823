"""The real AWS CLI (v1) and Python, kept loaded: some 8 ms a command instead of 400.

The `aws` that `fast_aws` puts on a PATH is a few lines of bash. It hands its arguments to a server, which has
the modules, service models and clients of the CLI loaded and runs one command after the other. So does the
`python3` beside it with programs that the scripts start with -IS: these need nothing but their arguments.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Bash starts in 1 ms, Python in 9.
CLIENT = """#!{bash}
[[ $0 != */python3 || $1 == -IS ]] || exec "{python}" "$@"
input=
[[ " $* " != *' file:///dev/stdin '* ]] || IFS= read -r -d '' input
settings=()
for name in "${{!AWS_@}}"; do
  settings+=("$name=${{!name}}")
done
exec 3<>/dev/tcp/127.0.0.1/{port} || exit
set -- "$PWD" "$input" "$#" "${{0##*/}}" "$@" "${{settings[@]}}"
printf '%s\\0' "$#" "$@" >&3
for part in status errors output; do
  IFS= read -r -d '' -u 3 "$part"
done
printf '%s' "$errors" >&2
printf '%s' "$output"
exit "${{status:-255}}"
"""

# These leave in the CLI's session where a body is to go: they run in a process of their own.
LEAVE_TRACES = {"get-object", "invoke"}


class Server:
    """The CLI, and its clients for the settings (AWS_… in the environment) of the last command."""

    def __init__(self) -> None:
        import awscli.clidriver

        self.driver = awscli.clidriver.create_clidriver()
        parser = self.driver._create_parser(self.driver._get_command_table())
        self.driver._create_parser = lambda table: parser
        self.session = self.driver.session
        self.session.get_component("data_loader")  # while there is AWS_DATA_PATH, which the CLI has set
        self.make_client = self.session.create_client
        self.session.create_client = self.create_client
        self.emit_session_event = self.driver._emit_session_event
        self.driver._emit_session_event = self.introduce_session
        time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.25))  # emulators need no more
        self.settings: list[str] = []
        self.clients: dict[tuple, Any] = {}

    def introduce_session(self, parsed_args: Any) -> None:
        """Tell the plug-ins of the session, once: each time they would add the same handlers again."""
        self.driver._emit_session_event = lambda parsed_args: None
        self.emit_session_event(parsed_args)

    def create_client(self, *names: str, **options: Any) -> Any:
        """As botocore does, or the client that an earlier command has made."""
        defaults = self.session.get_default_client_config()
        key = (names, *sorted(options.items()), defaults.connect_timeout, defaults.read_timeout)
        if key not in self.clients:
            self.clients[key] = self.make_client(*names, **options)
        return self.clients[key]

    def serve(self, listener: socket.socket) -> None:
        """Run the commands that come in, until killed."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), connection:  # the client or its folder may be gone
                folder, text, count, *rest = receive(connection)
                program, *words = rest[: int(count) + 1]
                run = run_python if program == "python3" else self.run_counted
                self.adopt(folder, text, rest[int(count) + 1 :])
                if not LEAVE_TRACES.intersection(words):
                    connection.sendall(answer(run, words))
                elif os.fork() == 0:
                    self.session.create_client = self.make_client  # an older one has older handlers
                    connection.sendall(answer(run, words))
                    os._exit(0)

    def adopt(self, folder: str, text: str, settings: list[str]) -> None:
        """Take on the working directory, the standard input and the settings of a client."""
        os.chdir(folder)
        if text:
            with tempfile.TemporaryFile() as file:
                file.write(os.fsencode(text))
                file.seek(0)
                os.dup2(file.fileno(), 0)
        if settings != self.settings:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                del os.environ[name]
            os.environ.update(setting.split("=", 1) for setting in settings)
            self.settings = settings
            self.session._credentials = None
            self.clients.clear()

    def run_counted(self, words: list[str]) -> int:
        """Run a command. Number AWS_FAIL_AT fails, before AWS sees it or (AWS_FAIL_AFTER) after."""
        number = 0
        if log := os.environ.get("AWS_CALL_LOG"):
            with open(log, "a+") as calls:
                fcntl.flock(calls, fcntl.LOCK_EX)
                calls.seek(0)
                number = len(calls.readlines()) + 1
                calls.write(" ".join(word.replace("\n", " ") for word in words) + "\n")
        if os.environ.get("AWS_FAIL_AT") != str(number):
            return self.run_by_rules(words)
        if not os.environ.get("AWS_FAIL_AFTER"):
            sys.exit("injected: the command did not reach AWS")
        answer(self.run_by_rules, words)
        sys.exit("injected: the answer was lost")

    def run_by_rules(self, words: list[str]) -> int:
        """Run a command, under AWS's own rules when there is AWS_STRICT."""
        if rules := os.environ.get("AWS_STRICT"):
            import strict_aws  # beside this file, which runs alone

            return strict_aws.run_strictly(self.run, rules, words)
        return self.run(words)

    def run(self, words: list[str]) -> int:
        """Run a command as the CLI does."""
        self.session._session_instance_vars.clear()
        self.session.set_default_client_config(None)
        return self.driver.main(words)


def run_python(words: list[str]) -> int:
    """Run `python3 -IS PROGRAM ARGUMENT…`."""
    sys.argv = words[1:]
    runpy.run_path(words[1], run_name="__main__")
    return 0


def answer(run: Callable[[list[str]], int], words: list[str]) -> bytes:
    """Run a command. Returns its status, its standard error and its standard output, a NUL after each."""
    errors, output = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            status = run(words)
        except SystemExit as stop:
            status = stop.code or 0
            if isinstance(status, str):
                print(status, file=errors)
                status = 1
        except Exception:
            traceback.print_exc()
            status = 1
    return b"%d\0%b\0%b\0" % (status % 256, errors.buffer.getvalue(), output.buffer.getvalue())


def receive(connection: socket.socket) -> list[str]:
    """What a client sends: how many parts there are, and the parts, a NUL after each."""
    received = b""
    while received.count(b"\0") <= int(received.partition(b"\0")[0] or 0):
        if not (chunk := connection.recv(65536)):
            raise ConnectionError("the client has ended")
        received += chunk
    return [os.fsdecode(part) for part in received.split(b"\0")[1:-1]]


@contextlib.contextmanager
def fast_aws(directory: Path) -> Iterator[Path]:
    """Yields a folder to put first on the PATH, whose programs work as long as the context is open."""
    from helpers.emulator import aws_environment  # here, because the server below runs this file alone

    folder = directory / "fast-aws"
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port, descriptor = listener.getsockname()[1], listener.fileno()
        process = subprocess.Popen(
            [sys.executable, __file__, str(descriptor)],
            env=aws_environment(),
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
        )
    client = CLIENT.format(bash=shutil.which("bash"), port=port, python=sys.executable)
    for name in ("aws", "python3"):
        (folder / name).write_text(client)
        (folder / name).chmod(0o755)
    try:
        yield folder
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    Server().serve(socket.socket(fileno=int(sys.argv[1])))
