"""All that the launcher changes in MiniStack, and for which version."""

import sys
from importlib.metadata import version

from joined_files import read_joined_files
from lasting_streams import make_streams_last
from lean_items import make_items_lean
from parallel_polls import poll_tables_beside
from quick_query import make_queries_quick

TESTED_VERSION = "1.5.33"


def patch_ministack() -> None:
    """Change MiniStack in this process, if it is the version that was tested with the changes."""
    from ministack.services import athena, dynamodb, kinesis, lambda_svc

    if version("ministack") == TESTED_VERSION:
        make_items_lean(dynamodb)
        make_queries_quick(dynamodb)
        make_streams_last(dynamodb, kinesis, lambda_svc)
        poll_tables_beside(lambda_svc)
        read_joined_files(athena)
    else:
        print(f"This MiniStack slows down: only version {TESTED_VERSION} is patched", file=sys.stderr)
