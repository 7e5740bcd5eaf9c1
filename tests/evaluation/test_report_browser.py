"""The report in a real browser: it runs and loads nothing, fits a phone, dark and paper."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_cases

CHROMIUM = (
    shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.browser
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Chromium or its driver is not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_cases.make(tmp_path_factory.mktemp("browser"))


def shown(browser: Any, page: Path, *, width: int = 1200, dark: bool = False) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
    browser.get(page.as_uri())


def luminance(browser: Any, element: str, what: str) -> float:
    """How bright a color of an element is, 0 to 255."""
    color = browser.execute_script(
        f"return getComputedStyle(document.querySelector('{element}')).{what}"
    )
    red, green, blue = (float(part) for part in color.strip("rgba()").split(",")[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_markup_of_the_data_does_nothing(browser: Any, page: Path) -> None:
    shown(browser, page)
    assert browser.title == "Report on model"  # the attack would have called it otherwise
    count = browser.execute_script("return document.querySelectorAll('script, img, iframe').length")
    assert count == 0
    assert report_cases.ATTACK in browser.execute_script("return document.body.textContent")
    problems = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert problems == []


def test_it_loads_nothing_but_itself(browser: Any, page: Path) -> None:
    browser.get_log("performance")
    shown(browser, page)
    sent = [entry["message"] for entry in browser.get_log("performance")
            if "Network.requestWillBeSent\"" in entry["message"]]  # fmt: skip
    assert len(sent) == 1 and page.name in sent[0]
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width", [400, 320, 768, 1200])
def test_it_fits_the_width(browser: Any, page: Path, width: int) -> None:
    shown(browser, page, width=width)
    # What is wider than a screen scrolls in a frame of its own, as long tables do.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg') "
        "&& e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


def test_charts_are_drawn_and_readable_on_a_phone(browser: Any, page: Path) -> None:
    shown(browser, page, width=400)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(e => {"
        "const b = e.getBoundingClientRect();"
        "const t = e.querySelector('text.tick').getBoundingClientRect();"
        "return [b.width, b.height, t.height]})"
    )
    assert len(sizes) == 9
    for width, height, text in sizes:
        assert width > 300 and height > 150 and text >= 9
    # Texts of an axis do not lie upon one another.
    overlaps = browser.execute_script(
        "return [...document.querySelectorAll('svg')].flatMap(svg => {"
        "const all = [...svg.querySelectorAll('text.tick')].map(e => e.getBoundingClientRect());"
        "return all.flatMap((a, i) => all.slice(i + 1).filter(b => a.left < b.right - 1 && "
        "b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)"
        ".map(() => svg.getAttribute('aria-label')))})"
    )
    assert overlaps == []


def test_light_and_dark_have_contrast(browser: Any, page: Path) -> None:
    for dark in (False, True):
        shown(browser, page, dark=dark)
        paper, ink = (
            luminance(browser, "body", "backgroundColor"),
            luminance(browser, "body", "color"),
        )
        assert (paper < 60) == dark and abs(paper - ink) > 150
        assert abs(luminance(browser, "svg .bar", "fill") - paper) > 50
        assert abs(luminance(browser, "svg .tick", "fill") - paper) > 80


def test_paper_is_light_and_has_all(browser: Any, page: Path) -> None:
    shown(browser, page, dark=True)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [
        {"name": "prefers-color-scheme", "value": "dark"}]})  # fmt: skip
    assert luminance(browser, "body", "backgroundColor") > 240
    assert luminance(browser, "body", "color") < 40
    settings = browser.execute_script(
        "return document.querySelector('#card details dl').getBoundingClientRect().height"
    )
    assert settings > 20  # what is folded away on a screen is printed
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
