"""Prints how many minutes are left until a time.

minutes_until.py 2026-11-23T18:00:00+00:00
"""

import sys
from datetime import UTC, datetime

then = datetime.fromisoformat(sys.argv[1])
print(int((then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds() // 60))
