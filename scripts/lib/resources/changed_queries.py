"""Prints which queries of a folder Athena has not saved in this form: name, and id of an older version.

    changed_queries.py FOLDER

Standard input: the answers of `aws athena batch-get-named-query`, one JSON object after the other.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def documents(text: str) -> Iterator[dict]:
    """JSON objects that follow one another."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].lstrip()


if __name__ == "__main__":
    saved = {query["Name"]: query for each in documents(sys.stdin.read()) for query in each["NamedQueries"]}
    for file in sorted(Path(sys.argv[1]).glob("*.sql")):
        query = saved.get(file.stem, {})
        # The AWS CLI and Athena may each drop the last line break.
        if query.get("QueryString", "").strip() != file.read_text().strip():
            print(file.stem, query.get("NamedQueryId", ""))
