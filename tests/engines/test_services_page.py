"""The page in a real browser, without network: a picture dropped becomes boxes and a skeleton; errors become words."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.serving import ROOT, ServiceProcess, manifest_path, photograph, real_models, running_service

pytestmark = pytest.mark.xdist_group("services")

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
SCREENSHOTS = ROOT / ".trimtab" / "screenshots"
WAIT_S = 20

DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
for (const type of ["dragover", "drop"]) {
  document.getElementById("zone").dispatchEvent(
    new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: carried }));
}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Return the service with its real models."""
    with running_service(manifest_path("yolo-combined"), real_models(), tmp_path_factory.mktemp("service")) as running:
        yield running


class Page:
    """The page, opened at one size."""

    def __init__(self, driver: webdriver.Chrome, service: ServiceProcess, size: str) -> None:
        self.driver = driver
        self._size = size
        width, height = SIZES[size]
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
        )
        driver.get(f"http://127.0.0.1:{service.port}/")
        self.wait(lambda: self.one("#status").get_attribute("data-state") == "healthy")

    def one(self, selector: str) -> WebElement:
        """Return the element of this selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def count(self, selector: str) -> int:
        """Return how many elements there are."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def wait(self, is_so: object) -> None:
        """Wait until it is so."""
        WebDriverWait(self.driver, WAIT_S, poll_frequency=0.05).until(lambda _: is_so())  # type: ignore[operator]

    def drop(self, content: bytes) -> None:
        """Drop a file onto the page."""
        self.driver.execute_script(DROP, base64.b64encode(content).decode())

    def screenshot(self, name: str) -> None:
        """Keep what it looks like, for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"page-{self._size}-{name}.png"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Return a headless Chromium of its own; every module has its own profile."""
    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        pytest.skip("no chromium or chromedriver on PATH (scripts/setup-browser installs them)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield started
    started.quit()


@pytest.fixture(params=SIZES)
def page(driver: webdriver.Chrome, service: ServiceProcess, request: pytest.FixtureRequest) -> Page:
    """Return the page, ready, at each size."""
    return Page(driver, service, request.param)


def test_the_astronaut_dropped_gets_a_box_and_a_skeleton(page: Page) -> None:
    page.screenshot("empty")
    page.drop(photograph("astronaut"))
    page.wait(lambda: page.count(".box"))
    (person,) = (box for box in page.driver.find_elements(By.CSS_SELECTOR, ".box") if box.text == "person")
    assert page.count(".person") == 1
    assert page.count(".bone") >= 4
    assert page.count("#findings li") == page.count(".box") + 1
    picture = page.one("#picture").rect
    box = person.rect
    assert picture["width"] > 200
    assert box["x"] >= picture["x"] - 3
    assert box["x"] + box["width"] <= picture["x"] + picture["width"] + 3
    assert box["height"] > picture["height"] * 0.8  # she fills most of the picture's height
    page.screenshot("astronaut")
    assert page.driver.get_log("browser") == []


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    page.drop(photograph("coffee"))
    page.wait(lambda: page.count(".box"))
    assert page.driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_layers_and_scores_choose_what_is_shown(page: Page) -> None:
    page.drop(photograph("astronaut"))
    page.wait(lambda: page.count(".person"))
    page.one("label:has(#show-persons)").click()
    assert page.count(".person") == 0
    page.one("#score").send_keys(Keys.END)
    assert page.count(".box") == 0
    assert page.one("#summary").text == "No objects"


def test_a_file_that_is_no_picture_is_told_in_words(page: Page) -> None:
    page.drop(b"only text")
    page.wait(lambda: page.one("#alert").is_displayed())
    assert "not a JPEG, PNG, WebP or BMP picture" in page.one("#alert").text
    assert page.one(".invite").is_displayed()
    page.screenshot("no-picture")
    refused = [entry for entry in page.driver.get_log("browser") if "415" not in entry["message"]]
    assert refused == []


def test_a_file_that_is_too_large_is_not_even_sent(page: Page, service: ServiceProcess) -> None:
    before = len(service.log())
    page.drop(bytes(11 * 1024 * 1024))
    page.wait(lambda: page.one("#alert").is_displayed())
    assert "too large" in page.one("#alert").text
    assert not [entry for entry in service.log()[before:] if entry.get("method") == "POST"]


def test_a_file_can_be_chosen_instead(page: Page, tmp_path: Path) -> None:
    chosen = tmp_path / "cat.png"
    chosen.write_bytes(photograph("chelsea"))
    page.one("#file").send_keys(str(chosen))
    page.wait(lambda: page.count(".box"))
    assert page.one(".box b").text == "cat"
    assert page.one("#summary").text.endswith("no poses")


@pytest.mark.parametrize(
    ("name", "picture", "shown", "summary"),
    [
        ("mmpose", "astronaut", {".person": 1, ".box": 0}, "1 pose"),
        ("yolo-nas", "coffee", {".person": 0, ".box": 2}, "2 objects"),
    ],
)
def test_a_service_of_one_task_offers_no_choice_and_shows_what_it_finds(
    driver: webdriver.Chrome, tmp_path: Path, name: str, picture: str, shown: dict[str, int], summary: str
) -> None:
    with running_service(manifest_path(name), real_models(), tmp_path) as running:
        page = Page(driver, running, "desk")
        page.drop(photograph(picture))
        page.wait(lambda: page.one("#panel").is_displayed())
        assert {selector: page.count(selector) for selector in shown} == shown
        assert page.one("#summary").text == summary
        assert not page.one("#layers").is_displayed()
        page.driver.execute_script("document.querySelector('details').open = true")
        page.screenshot(name)
        assert page.one("#curl").text.count("curl") == 1
        assert page.driver.get_log("browser") == []
