"""A page in headless Chromium: what it says on its console, and how it looks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: Without these Chromium asks hosts outside this machine for updates.
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--disable-quic"]  # fmt: skip


def open_page(address: str, picture: Path | None = None) -> tuple[list[str], str]:
    """Open an address; returns console errors and the page's text. Skipped, in words, without a browser."""
    from playwright.sync_api import sync_playwright

    program = next((p for p in map(shutil.which, NAMES) if p), None)
    if program is None:
        pytest.skip("no Chromium on this machine: `make chromium` installs one")
    errors: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=QUIET)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.on("requestfailed", lambda r: errors.append(f"request failed: {r.url[:80]}"))
        page.goto(address)
        text = page.inner_text("body")
        if picture is not None:
            page.screenshot(path=str(picture), full_page=True)
        browser.close()
    return errors, text
