"""The prices of scripts/resources/prices.json, in US dollars, for the benches."""

from __future__ import annotations

import json
from pathlib import Path

PRICES = Path(__file__).resolve().parents[1] / "scripts/resources/prices.json"
USD: dict[str, float] = json.loads(PRICES.read_text())["usd"]
