#!/usr/bin/env python3
"""Take README's pictures of the dashboard, in both themes, on a wide and on a narrow screen.

    .venv/bin/python docs/screenshots.py

It runs scripts/run_local.sh twice, with the simulated market and with a replay of a year of real prices, and
writes the PNG files beside this one. It takes four minutes, and needs chromium and chromedriver.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from PIL import Image  # noqa: E402

from helpers.dashboard_page import Page, eventually, settled  # noqa: E402

RUNS = {
    "dashboard": ["--source", "simulated", "--symbols", "AAPL,MSFT,GOOG,AMZN,BTC-USD", "--delay", "1"],
    "replay": ["--source", "replay", "--delay", "0.1"],
}
SCREENS = {"": (1280, 1000), "-phone": (390, 1800)}


@contextmanager
def pipeline(flags: list[str]) -> Iterator[str]:
    """Run the pipeline on this machine. Yields the page's address once there is something to see."""
    with tempfile.NamedTemporaryFile("r") as log, open(log.name, "w") as output:
        command = [ROOT / "scripts/run_local.sh", *flags]
        run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

        def said(pattern: str) -> list[str]:
            assert run.poll() is None, Path(log.name).read_text()
            return re.findall(pattern, Path(log.name).read_text())

        try:
            (address,) = eventually(lambda: said("The dashboard is at (.*)"), seconds=300)
            is_replay = "replay" in flags
            eventually(
                lambda: said("The replay has ended") if is_replay else len(said("ALERT ")) > 20, seconds=300
            )
            yield address
        finally:
            run.terminate()
            run.wait(timeout=60)


def take_picture(address: str, file: Path, *, width: int, height: int, is_dark: bool) -> None:
    """Save what a browser of this size shows."""
    page = Page(width=width, height=height, dark=is_dark)
    try:
        page.driver.get(address)
        eventually(lambda: page.chart() and page.table(1) and "…" not in page.text(".strip"), seconds=60)
        content = "return document.querySelector('[data-testid=stMainBlockContainer]').offsetHeight"
        page.resize(width, settled(lambda: page.run(content)))
        settled(page.range)
        picture = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
        # With 256 colours a picture has a third of the bytes, and the eye sees no difference.
        few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=5, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
    finally:
        page.driver.quit()
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB", flush=True)


def main() -> None:
    for name, flags in RUNS.items():
        with pipeline(flags) as address:
            for screen, (width, height) in SCREENS.items():
                for is_dark in (False, True):
                    file = ROOT / f"docs/{name}{screen}{'-dark' * is_dark}.png"
                    take_picture(address, file, width=width, height=height, is_dark=is_dark)


if __name__ == "__main__":
    main()
