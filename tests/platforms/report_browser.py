"""Open a page in headless Chromium, in every theme and width, and print what it shows and does as JSON.

Usage: report_browser.py CHROMIUM PAGE SCREENSHOTS, with the Python that has playwright (setup/report.sh).
"""

import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

VIEWS = {
    "light": (1400, "light"),
    "laptop": (1200, "light"),
    "dark": (1400, "dark"),
    "phone": (390, "light"),
    "phone-dark": (390, "dark"),
    "projector": (2560, "dark"),
}

# Contrast of every piece of HTML text with the first opaque background behind it, as WCAG 2 computes it.
LOOK = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim()) continue;
    const paint = getComputedStyle(element)[element.closest('svg') ? 'fill' : 'color'];
    const [bright, dark] = [luminance(channels(paint)), luminance(behind(element))].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < 4.5 && !element.closest('.badge')) faint.push([text.data.trim().slice(0, 40), ratio]);
    if (ratio < 3) faint.push([text.data.trim().slice(0, 40), ratio]);
  }
  const small = [...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width < 250).length;
  return {
    width: innerWidth, scroll_width: document.documentElement.scrollWidth, faint, small,
    height: document.documentElement.scrollHeight,
    figures: [...document.querySelectorAll('figure')].map(figure => ({
      caption: figure.querySelector('figcaption')?.textContent.trim() ?? '',
      alternative: figure.querySelector('svg')?.getAttribute('aria-label') ?? '',
      area: figure.querySelector('svg')?.getBoundingClientRect().height ?? 0,
    })),
    cut: [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)
      .map(box => box.getAttribute('aria-label')),
    images_shown: [...document.querySelectorAll('svg image')]
      .filter(image => getComputedStyle(image).display !== 'none').length,
    harmed: window.harmed ?? null, scripts: document.scripts.length, foreign: document.querySelectorAll('img').length,
    title: document.title, heading: document.querySelector('h1').textContent,
  };
}"""


def main(chromium: str, page_path: Path, screenshots: Path) -> None:
    said: list[str] = []
    requests: list[str] = []
    views = {}
    screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (width, scheme) in VIEWS.items():
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(page_path.resolve().as_uri(), wait_until="load")
            views[name] = page.evaluate(LOOK)
            page.screenshot(path=screenshots / f"{name}.png", full_page=True)
            if name == "dark":
                page.keyboard.press("Tab")
                focus = page.evaluate(
                    "() => [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle,"
                    " document.activeElement.getBoundingClientRect().top]"
                )
                page.emulate_media(media="print", color_scheme="dark")
                page.set_viewport_size({"width": 794, "height": 1000})  # A4
                paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
                printed = page.evaluate(
                    "() => [...document.querySelectorAll('figure svg, .caution')].map(e => e.getBoundingClientRect())"
                    ".map(box => [box.width, box.height])"
                )
                page.pdf(path=screenshots / "print.pdf", format="A4")
            page.close()
        browser.close()
    addresses = [url for url in requests if not url.startswith(("data:", page_path.resolve().as_uri()))]
    print(
        json.dumps(
            {"said": said, "requests": addresses, "views": views, "focus": focus, "paper": paper, "printed": printed}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
