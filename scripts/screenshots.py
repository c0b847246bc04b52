"""Pictures of the running stack for the docs: Airflow's DAG list, a run, the reviews; and the report.

    FLASHSALE_HOME=.flashsale/worlds/simulated .venv/bin/flashsale up
    FLASHSALE_HOME=.flashsale/worlds/simulated .venv/bin/python scripts/screenshots.py out/report.html docs/pictures

Needs Chromium (`make chromium`) and the stack of a finished demo. Passwords come from the home's secrets.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from flashsale.local.environment import ADMIN, Ports
from flashsale.local.secret import secret
from flashsale.settings import settings

SIZE = {"width": 1280, "height": 800}
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def airflow(page: Any, base: str, password: str, folder: Path) -> None:
    """The DAG list, the loop's last DAG with its runs, and the question a reviewer answered."""
    page.goto(f"{base}/auth/login/")
    page.fill('input[name="username"]', ADMIN)
    page.fill('input[name="password"]', password)
    page.get_by_role("button").first.click()
    page.wait_for_url(lambda url: "login" not in url)
    for name, path in (
        ("airflow-dags", "/dags"),
        ("airflow-post-sale", "/dags/post_sale"),
        ("airflow-reviews", "/required_actions?response_received=true"),
    ):
        page.goto(base + path)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(3000)
        page.screenshot(path=str(folder / f"{name}.png"))


def main() -> None:
    """Write the pictures."""
    from playwright.sync_api import sync_playwright

    report, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    home, ports = settings().home, Ports.configured()
    program = next(found for found in map(shutil.which, PROGRAMS) if found)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE)
        page.goto(report.absolute().as_uri())
        page.screenshot(path=str(folder / "report.png"), full_page=True)
        airflow(page, f"http://127.0.0.1:{ports.airflow}", secret(home, f"airflow-{ADMIN}.password"), folder)
        browser.close()


if __name__ == "__main__":
    main()
