"""Makes MiniStack's Query quick: a plain key condition is parsed once for each Query, not once for each item.

MiniStack 1.5.33 parses the text of the condition again for every item of the partition, whatever the Limit.
So a Query takes longer with each tick, and the local stack falls behind for good after an hour.
"""

import operator
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

TESTED_VERSION = "1.5.33"
# KEY = :value, alone or with a condition on the sort key
PLAIN = re.compile(
    r"(#?\w+)\s*=\s*(:\w+)(?:\s+AND\s+(#?\w+)\s*(?:(<=|>=|<|>|=)\s*(:\w+)|\s+BETWEEN\s+(:\w+)\s+AND\s+(:\w+)))?",
    re.ASCII,
)
COMPARISONS = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Item = Mapping[str, Mapping[str, Any]]


def make_queries_quick() -> None:
    """Replace MiniStack's evaluation of key conditions in this process, if this version was tested."""
    from ministack.services import dynamodb

    if version("ministack") == TESTED_VERSION:
        dynamodb._evaluate_condition = remember_conditions(dynamodb._evaluate_condition)
    else:
        print(f"Queries stay slow: only MiniStack {TESTED_VERSION} is made quicker", file=sys.stderr)


def remember_conditions(evaluate: Callable[..., bool]) -> Callable[..., bool]:
    """Wrap MiniStack's `_evaluate_condition`.

    The first item of a Query goes to the original, which finds every fault of the condition. The items after
    it come with the same objects for the condition's text, values and names.
    """
    last: tuple[Any, Any, Any, Callable[[Item], bool] | None] = (None, None, None, None)

    def evaluate_condition(
        text: str, item: Item, values: Any, names: Any, slot: str = "ConditionExpression"
    ) -> bool:
        nonlocal last
        last_text, last_values, last_names, matches = last
        is_same = text is last_text and values is last_values and names is last_names
        if is_same and matches and slot == "KeyConditionExpression":
            return matches(item)
        answer = evaluate(text, item, values, names, slot=slot)
        if slot == "KeyConditionExpression":
            last = text, values, names, plain_condition(text, values, names)
        return answer

    return evaluate_condition


def plain_condition(text: str, values: Item, names: Mapping[str, str]) -> Callable[[Item], bool] | None:
    """A function that says whether an item meets a valid key condition. None if the condition is not plain.

    Plain is a condition on text keys that PLAIN describes.
    """
    found = PLAIN.fullmatch(text.strip())
    if not found or any(list(values[part]) != ["S"] for part in found.groups() if part and part[0] == ":"):
        return None
    partition, value, sort, sign, bound, low, high = found.groups()
    tests = [(names.get(partition, partition), operator.eq, values[value]["S"])]
    if sign:
        tests.append((names.get(sort, sort), COMPARISONS[sign], values[bound]["S"]))
    elif sort:
        tests.append((names.get(sort, sort), operator.ge, values[low]["S"]))
        tests.append((names.get(sort, sort), operator.le, values[high]["S"]))

    def matches(item: Item) -> bool:
        return all("S" in item.get(name, ()) and holds(item[name]["S"], text) for name, holds, text in tests)

    return matches
