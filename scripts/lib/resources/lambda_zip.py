"""Writes a handler to a zip file as lambda_function.py and prints the CodeSha256 that Lambda shows for it.

    lambda_zip.py HANDLER.py FILE.zip

The same source makes the same bytes on every machine (fixed date, no compression). So the hash shows whether
Lambda has this code already, and it is not uploaded again.
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

source, target = map(Path, sys.argv[1:])
entry = zipfile.ZipInfo("lambda_function.py", date_time=(1980, 1, 1, 0, 0, 0))
entry.create_system = 3  # Unix, on any machine, because the permissions below are Unix ones
entry.external_attr = 0o644 << 16
with zipfile.ZipFile(target, "w") as archive:
    archive.writestr(entry, source.read_bytes())
print(base64.b64encode(hashlib.sha256(target.read_bytes()).digest()).decode())
