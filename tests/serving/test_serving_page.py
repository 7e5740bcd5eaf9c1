"""The web page in headless Chromium: typed into, clicked, looked at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from serving_cases import (  # noqa: F401
    PATIENCE_S,
    TEXT,
    TOKEN,
    answers,
    built,
    copied,
    started,
)  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.server,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="needs chromium and chromedriver on the PATH",
    ),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--force-device-scale-factor=1",
)  # fmt: skip
SCREENSHOTS = os.environ.get("LI_SCREENSHOTS")
"""Where pictures of the page are kept, for a person to look at; nowhere unless it is set."""


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):  # noqa: F811
    place = copied(built[0], tmp_path_factory.mktemp("page"))
    with started(place, f"fast={built[1]}") as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_window_size(1100, 900)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server):
    """The page, opened anew; it may log no error and no violation of its own policy."""
    looks(browser, dark=False, width=1100, height=900)
    browser.get_log("browser")
    browser.get(server.url)
    yield Page(browser)
    severe = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert not [line for line in severe if "401" not in line["message"]], severe


def looks(browser, *, dark: bool, width: int, height: int) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


class Page:
    """What a person does with the page."""

    def __init__(self, browser) -> None:
        self.browser = browser

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        return self.browser.find_element("css selector", selector)

    def until(self, what):
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(
            self.browser, PATIENCE_S, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda _: what())

    def type(self, text):
        box = self.one("#text")
        box.clear()
        box.send_keys(text)
        shown = "return answer && answer.text"
        self.until(lambda: self.names() and self.browser.execute_script(shown) == text)

    def names(self):
        return self.browser.execute_script(
            "return [...document.querySelectorAll('#results .name')].map(e => e.firstChild.data)"
        )

    def picture(self, name):
        if SCREENSHOTS:
            self.browser.save_screenshot(str(Path(SCREENSHOTS) / f"{name}.png"))


def keys(*which):
    from selenium.webdriver.common.keys import Keys

    return [getattr(Keys, each) for each in which]


def test_labels_come_as_one_types(page, server):
    page.type(TEXT)
    found = answers(server.client, [TEXT], score="probability")["answers"][0]
    shown = [each.text for each in page.all("#results .number")]
    assert len(shown) == len(found) == 10
    assert page.all("#results .name")[0].text.startswith(found[0]["label"])
    assert shown[0] == f"{100 * found[0]['score']:.0f} %"
    assert "10 labels with their probabilities" in page.one("#status").text
    page.picture("desktop")
    page.one("#text").clear()
    page.one("#text").send_keys("qqqq")
    page.until(lambda: "knows no word" in page.one("#status").text)
    assert not page.all("#results li")


def test_why_a_label(page, server):
    page.type(TEXT)
    summary = page.one("#results .why summary")
    summary.click()
    page.until(lambda: "Evidence" in page.one("#results .why").text)
    told = page.one("#results .why").text
    assert "Words" in told and "training points" in told and "cluster" in told
    page.picture("why")


def test_markup_in_a_text_or_a_name_is_text(page):
    page.type("<img src=x onerror=alert(1)> bake bread")
    assert not page.all("#results img")


def test_a_correction_is_learned(page, server):
    text = "matrix chord bread"
    page.type(text)
    page.one("#add").send_keys("weather: adv")
    page.until(lambda: page.all("#known option"))
    page.one("#add").clear()
    page.one("#add").send_keys("Weather: advanced", *keys("ENTER"))
    page.until(lambda: page.one("#chosen").text)
    box = page.one("#results input[type=checkbox]")
    box.click()
    ticked = page.names()[0]
    page.until(lambda: len(page.all("#chosen button")) == 2)
    page.one("#teach").click()
    page.until(lambda: "token" in page.one("#taught").text)
    page.one("#token").send_keys("wrong", *keys("ENTER"))
    page.until(lambda: "Authorization" in page.one("#taught").text)
    page.picture("refused")
    page.one("#token").clear()
    page.one("#token").send_keys(TOKEN, *keys("ENTER"))
    page.until(lambda: "Learned" in page.one("#taught").text)
    page.until(lambda: "Weather: advanced" in page.names()[:3])
    page.picture("learned")
    assert ticked in page.names()[:5]
    found = answers(server.client, [text], k=3)["answers"][0]
    assert "weather/advanced" in [each["key"] for each in found]


def test_all_of_it_works_without_a_mouse(page):
    from selenium.webdriver import ActionChains

    page.type(TEXT)
    page.one("body").click()
    ActionChains(page.browser).send_keys("/").perform()
    assert page.browser.switch_to.active_element.get_attribute("id") == "text"
    seen = []
    for _ in range(60):
        ActionChains(page.browser).send_keys(*keys("TAB")).perform()
        seen.append(page.browser.switch_to.active_element)
        if seen[-1].tag_name == "summary" and "About" in seen[-1].text:
            break
    assert {each.tag_name for each in seen} >= {"input", "summary"}
    ActionChains(page.browser).send_keys(*keys("ENTER")).perform()
    page.until(lambda: "Training points" in page.one("#card").text)
    style = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.browser.execute_script(style) == "solid"


def test_a_compiled_model_is_not_taught(page, server):
    from selenium.webdriver.support.ui import Select

    page.type(TEXT)
    assert page.one("#correct").is_displayed()
    Select(page.one("#model")).select_by_value("fast")
    page.until(lambda: not page.one("#correct").is_displayed())
    page.one("#about summary").click()
    page.until(lambda: "cannot learn" in page.one("#card").text)


@pytest.mark.parametrize(("dark", "width"), [(True, 1100), (False, 360), (True, 360)])
def test_it_is_readable_in_the_dark_and_on_a_phone(page, dark, width):
    looks(page.browser, dark=dark, width=width, height=800)
    page.type(TEXT)
    page.one("#results .why summary").click()
    page.until(lambda: "Evidence" in page.one("#results .why").text)
    wide = page.browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    back, front = page.browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    assert (sum(channels(back)) < sum(channels(front))) == dark
    assert contrast(channels(back), channels(front)) > 7
    page.picture(f"{'dark' if dark else 'light'}-{width}")


def channels(color):
    return [int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]


def contrast(one, other):
    """Of WCAG 2."""

    def luminance(rgb):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_page_asks_nobody_but_its_server(page, server):
    page.type(TEXT)
    urls = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(each => each.name)"
    )
    assert len(urls) >= 4 and all(url.startswith(server.url) for url in urls)
