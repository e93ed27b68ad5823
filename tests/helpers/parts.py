"""How much of the long random tests runs: all of it in continuous integration, a part of each otherwise."""

from __future__ import annotations

import os


def parts(count: int) -> range:
    """The parts of a test that run, of so many: all with CI=true, the first one without."""
    return range(count if os.environ.get("CI") == "true" else 1)
