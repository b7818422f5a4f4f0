"""The page in a real browser: nothing is requested, nothing fails, tooltips and choices work in every window.

Needs Chromium and its driver; the tests are skipped where these are not installed.
"""

import json
import shutil
import time

import pytest

from hwopt.report.analysis.study_data import read_studies
from hwopt.report.page.content import Networks
from hwopt.report.page.render import write_page
from tests.report.analysis.stores import identity, trial, write
from tests.test_plot import STUDIES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed")

BAD = "<script>window.hurt=1</script><b>x</b>"
DRAWN = "return [...document.querySelectorAll('.figure')].every((f) => f.hidden || f.querySelector('svg'))"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    dimensions = [{"type": "Categorical", "name": BAD, "choices": [BAD, "b"], "weights": [0.5, 0.5]}]
    hostile = [trial(i, 0.2 + 0.01 * i, {"time_s": 1e-2 / (i + 1)}, config={BAD: BAD}) for i in range(3)]
    write(folder / "a.db", STUDIES["many"], reference={"error": 1.0, "time_s": 1.0})
    write(folder / "b.db", hostile, identity=identity(dimensions=dimensions))
    studies = read_studies([folder / "a.db", folder / "b.db"])
    write_page(studies, folder / "page.html", [networks(), Networks(why_none="no file")])
    return (folder / "page.html").as_uri()


def networks():
    import pandas as pd

    from hwopt.costs import Costs
    from hwopt.predict.device import Prediction

    layers = pd.DataFrame({"name": ["conv", "fc"], "kind": ["conv2d", "linear"], "time_s": [1e-3, 2e-3]})
    layers = layers.assign(share=[1 / 3, 2 / 3], is_fallback=False, is_extrapolated=[True, False])
    prediction = Prediction(layers, {"time_s": 3e-3}, Costs({"time_s": [3e-3]}), ("a note",))
    return Networks({5: prediction, 3: prediction})


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait_for(browser, script, *arguments):
    for _ in range(600):
        found = browser.execute_script(script, *arguments)
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}")


def opened(browser, page, width=1600, scheme="light"):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    wait_for(browser, DRAWN)


def requests_of(browser):
    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [
        one["params"]["request"]["url"] for one in entries if one["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in sent if not url.startswith(("data:", "blob:"))]


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_the_page_draws_everything_without_errors_requests_or_overflow(browser, page, width, scheme):
    browser.get_log("performance")
    opened(browser, page, width, scheme)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert requests_of(browser) == [page]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return window.hurt") is None
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    ink = browser.execute_script('return document.querySelector("#front .xtitle").style.fill')
    assert (paper, ink) == {
        "light": ("rgb(255, 255, 255)", "rgb(28, 28, 28)"), "dark": ("rgb(21, 24, 28)", "rgb(230, 230, 230)")
    }[scheme]  # fmt: skip


FRONT = 'document.querySelector("#front .figure")'


def tooltip(browser, study, name, point):
    """Hover a point of the front, and return the position of its trace and the text of its tooltip."""
    wanted = f"return {FRONT}.data.findIndex((t) => t.meta === arguments[0] && t.name.includes(arguments[1]))"
    trace = browser.execute_script(wanted, study, name)
    shown = "[{curveNumber: arguments[0], pointNumber: arguments[1]}]"
    browser.execute_script(f"Plotly.Fx.hover({FRONT}, {shown})", trace, point)
    return trace, wait_for(browser, 'return document.querySelector("#front .hoverlayer").textContent')


def test_a_point_has_a_tooltip_and_a_click_shows_its_network(browser, page):
    opened(browser, page)
    trace, text = tooltip(browser, "a", "front", 5)
    assert "trial 5: front" in text and "time 15 ms" in text and "depth = 3" in text
    point = f"{{data: {FRONT}.data[arguments[0]], customdata: 5}}"
    browser.execute_script(f'{FRONT}.emit("plotly_click", {{points: [{point}]}})', trace)
    picked = browser.execute_script('return document.querySelector(".picked").innerText')
    assert "a: trial 5: front" in picked
    assert browser.execute_script("return document.querySelector('[data-choice=network]').value") == "5"


def test_hostile_values_are_shown_as_text_in_tooltips(browser, page):
    opened(browser, page)
    _, text = tooltip(browser, "b", "", 0)
    assert f"{BAD} = {BAD}" in text and browser.execute_script("return window.hurt") is None


def chosen(browser, selector, value):
    change = """const select = document.querySelector(arguments[0]); select.value = arguments[1];
        select.dispatchEvent(new Event("change", {bubbles: true})); return select.value"""
    assert browser.execute_script(change, selector, value) == value


def test_choosing_a_study_a_cost_and_a_network_changes_the_figures(browser, page):
    opened(browser, page)
    chosen(browser, "[data-choice=cost]", "power_w")
    wait_for(browser, 'return document.querySelector("#front .xtitle").textContent.includes("power")')
    chosen(browser, "[data-choice=network]", "3")
    wait_for(browser, 'return document.querySelector("#layers .caption").textContent.startsWith("trial 3,")')
    assert "a note" in browser.execute_script('return document.querySelector("#layers .notes").innerText')
    chosen(browser, "#study", "1")
    wait_for(browser, 'return document.querySelector("#layers .notes").innerText === "no file"')
    assert browser.execute_script('return document.querySelector("#curves .of").textContent') == "of b"
    visible = "return [...document.querySelectorAll('.front')].map((table) => !table.hidden)"
    assert browser.execute_script(visible) == [False, True]


def test_figures_are_saved_as_svg_and_data_as_csv_in_the_page(browser, page):
    opened(browser, page)
    record = """window.saved = [];
        HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href]) }"""
    browser.execute_script(record)
    for kind in ("svg", "csv"):
        browser.execute_script(f'document.querySelector("#front [data-save={kind}]").click()')
    saved = wait_for(browser, "return window.saved.length === 2 && window.saved")
    assert {name for name, _ in saved} == {"front_time_s.svg", "front_time_s.csv"}
    assert all(href.startswith(("data:image/svg+xml", "blob:")) for _, href in saved)
