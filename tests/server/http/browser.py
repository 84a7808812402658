"""A headless Chromium, and what is on its screen."""

import shutil

import pytest

from tools.harness.waiting import wait_for

DEADLINE = 60


class Browser:
    """Chromium on one page. Texts are what a person sees: what is hidden is not in them."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, *, width=1280, height=900, dark=False):
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        # colours that fade in could not be told apart by a test that looks early
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self.command("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in features.items()])
        self.driver.get(url)

    def command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

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
        wait_for(lambda: self.driver.find_elements("css selector", selector), DEADLINE, selector)
        self.find(selector).click()

    def click_text(self, text, within="body"):
        """Click the button with this text, as it is shown."""
        script = (
            "[...document.querySelectorAll(`${arguments[0]} button`)]"
            ".find((e) => e.checkVisibility() && e.innerText === arguments[1])"
        )
        wait_for(lambda: self.run(script, within, text), DEADLINE, f"a button {text!r} in {self.text(within)}").click()

    def wait_for_text(self, text, selector="body"):
        wait_for(lambda: text in self.text(selector), DEADLINE, lambda: f"{text!r} in {self.text(selector)!r}")

    def problems(self):
        """What the browser complains of: errors of scripts, of the policy, of requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def start_browser():
    """A browser; the tests are skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs a browser (Debian: chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(option)
    return webdriver.Chrome(options, webdriver.ChromeService(driver))
