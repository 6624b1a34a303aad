"""Run by the browser's Python: open the tools in Galaxy's real client, as a logged-in user, and take screenshots.

The request (JSON) has url, email, password, history, tools, report (a dataset), folder and chromium; the answer says
what is on the pages, for the tests to judge.
"""

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

PATIENCE = 120_000  # milliseconds; the first page of a server that has just started takes long on a busy machine


def form(page: Page, url: str, tool: str, folder: Path) -> dict[str, Any]:
    page.goto(f"{url}/?tool_id={tool}&version=latest")
    page.wait_for_selector("#execute", timeout=PATIENCE)
    page.screenshot(path=folder / f"{tool}.png", full_page=False)
    closed = page.locator("#center").inner_text()
    for section in page.locator(".ui-portlet-section .portlet-header.cursor-pointer").all():
        if section.is_visible():
            section.click()
    page.wait_for_timeout(1000)
    page.locator("#center .tool-header, #center #execute").first.scroll_into_view_if_needed()
    page.screenshot(path=folder / f"{tool}_open.png")
    return {"closed": closed, "open": page.locator("#center").inner_text()}


def main() -> None:
    request = json.load(sys.stdin)
    url, folder = request["url"], Path(request["folder"])
    answer: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=request["chromium"], args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 3600})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}/login/start")
        page.fill("input[name=login]", request["email"])
        page.fill("input[name=password]", request["password"])
        page.click("button[name=login]")
        page.wait_for_selector("#history-panel, #current-history-panel, .history-index")
        page.goto(f"{url}/history/set_as_current?id={request['history']}")
        for tool in request["tools"]:
            answer[tool] = form(page, url, tool, folder)
        page.goto(f"{url}/datasets/{request['report']}")
        page.wait_for_selector("iframe:not(#galaxy_main)", timeout=PATIENCE)
        page.wait_for_timeout(5000)
        page.screenshot(path=folder / "report.png")
        answer["report"] = " ".join(
            frame.locator("body").inner_text() for frame in page.frames if frame != page.main_frame
        )
        browser.close()
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
