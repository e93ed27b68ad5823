"""Prints for doctor.sh what is odd in .env: names that nothing reads, values that the environment overrides.

    env.py .env .env.example

One line each: a state (wrong or note) and words.
"""

import difflib
import os
import re
import sys
from pathlib import Path

ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=[ \t]*(.*?)[ \t]*(?:[ \t]#.*)?$", re.MULTILINE)

lines = Path(sys.argv[1]).read_text("utf-8-sig")  # an editor of Windows puts a BOM first
given = {name: value.strip("\"'").strip() for name, value in ASSIGNMENT.findall(lines)}
known = {"STOCK_SYMBOL", *re.findall(r"^#? ?([A-Z_]+)=", Path(sys.argv[2]).read_text("utf-8"), re.MULTILINE)}
for name, value in given.items():
    close = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.8)
    if name not in known and close:
        print(f"wrong settings: nothing reads {name} in .env, is it meant to be {close[0]}?")
    elif (here := os.environ.get(name, value).strip()) != value:
        state = "wrong" if name == "AWS_REGION" else "note"
        print(f"{state} settings: {name}={here} of the environment wins over {value} in .env: unset {name}")
