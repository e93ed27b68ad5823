"""The checkout under test: where it lies, its templates as the scripts fill them, its files as modules."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def rendered(path: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A JSON file of the checkout in which each ${NAME} has its value, as the scripts deploy it."""
    return json.loads(Template((ROOT / path).read_text()).substitute(values))


def load_module(path: str) -> ModuleType:
    """A Python file of the checkout as a fresh module: load_module("lambdas/process_stock_data.py")."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_list(value: str | list[str]) -> list[str]:
    """The Action or Resource of a policy's statement, which may be one string or a list of them."""
    return [value] if isinstance(value, str) else value
