"""Prints for doctor.sh whether the Python that runs this, and its packages, suit the producer.

    python.py REQUIREMENTS_FILE

Also runs on old versions of Python, to say that they are old.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version

REMEDY = "run python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
number = ".".join(map(str, sys.version_info[:3]))
if sys.version_info < (3, 11):  # noqa: UP036
    print("wrong Python " + number + " is too old: install Python 3.11 or newer, then " + REMEDY)
    sys.exit()
missing, other = [], []
with open(sys.argv[1], encoding="utf-8") as file:
    for name, wanted in re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s#;]+)", file.read(), re.MULTILINE):
        try:
            if version(name) != wanted:
                other.append(f"{name} {version(name)} (tested with {wanted})")
        except PackageNotFoundError:
            missing.append(name)
if missing:
    print(f"wrong Python {number} lacks {', '.join(missing)}; {REMEDY}")
elif other:
    print(f"note Python {number} with {', '.join(other)}; to get the tested versions {REMEDY}")
else:
    print(f"ok Python {number} with all packages")
