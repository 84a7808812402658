"""A headless Chromium, and what is on its screen."""

import shutil
import time

import pytest

from tools.harness.waiting import LOOKS

DEADLINE = 60
#: Seconds after which a condition is looked at again although nothing has changed on the page.
LONGEST = 0.5

#: Waits until something has changed since the page was looked at, or for that long; the number of changes so far.
CHANGE = """
const [seen, longest, done] = arguments;
if (!window.changesForTests) {
    window.changesForTests = {number: 1, tell: null};
    new MutationObserver(() => { changesForTests.number += 1; changesForTests.tell?.(); })
        .observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
}
const tell = () => { clearTimeout(end); changesForTests.tell = null; done(changesForTests.number); };
const end = setTimeout(tell, changesForTests.number === seen ? 1000 * longest : 0);
if (changesForTests.number === seen) changesForTests.tell = tell;
"""


class Browser:
    """Chromium on one page. Texts are what a person sees: what is hidden is not in them."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url):
        self.show()
        self.driver.get(url)

    def show(self, *, width=1280, height=900, dark=False):
        """Give the window this size, and the system this scheme of colours."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        # colours that fade in could not be told apart by a test that looks early
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self.command("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in features.items()])

    def command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def wait_for(self, condition, what=None):
        """The first true value of `condition()`, asked again whenever the page has changed.

        Each look at the page costs the processor as much as what it waits for.
        """
        began, looks, changes = time.monotonic(), 1, 0
        while not (value := condition()):
            looks += 1
            if time.monotonic() - began > DEADLINE and looks > LOOKS:
                raise AssertionError(f"not within {DEADLINE} s: {what() if callable(what) else what or condition}")
            changes = self.driver.execute_async_script(CHANGE, changes, LONGEST)
        return value

    def text(self, selector="body"):
        return self.run("document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def texts(self, selector):
        """The texts of all elements that are shown."""
        script = """[...document.querySelectorAll(arguments[0])]
            .filter((e) => e.checkVisibility({visibilityProperty: true})).map((e) => e.innerText)"""
        return self.run(script, selector)

    def colour(self, selector, name="backgroundColor"):
        return self.run("getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, name)

    def find(self, selector):
        (found,) = self.driver.find_elements("css selector", selector)
        return found

    def click(self, selector):
        self.wait_for(lambda: self.driver.find_elements("css selector", selector), selector)
        self.find(selector).click()

    def click_text(self, text, within="body"):
        """Click the button with this text, as it is shown."""
        script = (
            "[...document.querySelectorAll(`${arguments[0]} button`)]"
            ".find((e) => e.checkVisibility() && e.innerText === arguments[1])"
        )

        def button():
            return self.run(script, within, text)

        self.wait_for(button, lambda: f"a button {text!r} in {self.text(within)}").click()

    def wait_for_text(self, text, selector="body"):
        self.wait_for(lambda: text in self.text(selector), lambda: f"{text!r} in {self.text(selector)!r}")

    def problems(self):
        """What the browser complains of: errors of scripts, of the policy, of requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def start_browser(*more):
    """A browser, with more options; the tests are skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs a browser (Debian: chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
                   "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                   "--process-per-site", "--disable-features=SpareRendererForSitePerProcess", *more):  # fmt: skip
        options.add_argument(option)
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.set_script_timeout(DEADLINE)
    return started
