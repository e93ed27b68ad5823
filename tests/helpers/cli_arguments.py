"""Prints as JSON the flags that an AWS CLI, v1 or v2, takes. Run it with the Python that has its modules.

usage: python cli_arguments.py < JSON list of "SERVICE OPERATION" and "SERVICE wait STATE"

{command: {flag: type}}; a command that it does not know is left out.
"""

from __future__ import annotations

import json
import sys


def arguments_of(commands: list[str]) -> dict[str, dict[str, str]]:
    """The flags of each command that the CLI knows, and their types."""
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    known = {}
    for command in commands:
        service, *operation = command.split()
        table = driver._get_command_table()
        try:
            for word in (service, *operation):
                node = table[word]
                if word == service:
                    table = node._get_command_table()
                elif word == "wait":
                    table = node.subcommand_table
        except KeyError:
            continue
        known[command] = {
            f"--{name}": argument.cli_type_name
            for name, argument in sorted(node.arg_table.items())
            if argument.cli_type_name
        }
    return known


if __name__ == "__main__":
    print(json.dumps(arguments_of(json.load(sys.stdin))))
