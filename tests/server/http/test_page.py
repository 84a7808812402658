"""The status page in a browser, by what is on the screen."""

import contextlib
import re

import pytest

from tests.server.http.browser import Browser, start_browser
from tests.server.http.helpers import TOKEN, site_of
from tests.support.serving import ABORTED, Gate, join, kernel_id, ready_kernels
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import pool

HOSTILE = "<img src=x onerror=alert(1)>"
HOSTILE_OUTPUT = "</script><script>document.title='owned'</script><b onmouseover=alert(1)>"


@pytest.fixture(scope="module")
def driver():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def _site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    kernel = make_kernel(folder)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=2, MaximumKernelNumber=6, KeepAlive=False),
        "Second": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1, ParallelKernels=True, KeepAlive=False),
        HOSTILE: pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1, KeepAlive=False),
    }
    with site_of(folder, pools) as site:
        site.folder = folder
        ready_kernels(site.server, 2)
        yield site


@pytest.fixture
def site(_site):
    return _site


@pytest.fixture
def browser(driver, site):
    """The page, opened by somebody who has not signed in.

    Afterwards the browser has nothing to complain of: no script, and no request that the page's policy stops. Nor has
    it asked another host for anything.
    """
    browser = Browser(driver)
    browser.problems()
    browser.open(site.url)
    browser.wait_for_text("Main", "#pools")
    yield browser
    hosts = browser.run("performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)")
    browser.run("sessionStorage.clear()")
    assert set(hosts) == {f"{site.host}:{site.port}"}
    assert browser.problems() == []


def sign_in(browser, token=TOKEN):
    browser.click_text("Sign in", "header")
    browser.find("#token").send_keys(token)
    browser.click_text("Sign in", "#sign-in-dialog")


def rows(browser):
    """The cells of each kernel on the screen, by their classes."""
    script = """[...document.querySelectorAll('#kernels tr')].map((row) => Object.fromEntries(
        [...row.cells].map((cell) => [cell.className.split(' ')[0], cell.innerText])))"""
    return browser.run(script)


def row(browser, identifier):
    return next((one for one in rows(browser) if one["id"] == identifier), None)


def card(name):
    return f"article[aria-label='Pool {name}']"


def test_pools_are_cards_with_a_cell_for_each_kernel(site, browser):
    with join(site.server) as idle, join(site.server) as busy:
        gate = Gate(site.folder, "cells")
        busy.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        browser.wait_for_text("2 of 6 in use, 1 evaluating", card("Main"))
        assert browser.text(f"{card('Main')} .pool-head").split("\n") == ["Main", "default"]
        assert browser.text(f"{card('Second')} .pool-head").split("\n") == ["Second", "parallel"]
        cells = browser.run("[...document.querySelectorAll(arguments[0])].map((e) => [e.className, e.title])",
                            f"{card('Main')} .cells .cell")  # fmt: skip
        assert len(cells) == 6
        titles = dict(title.split(": ", 1) for _, title in cells if ": " in title)
        assert titles[kernel_id(idle)].startswith("idle, bridged, Client ")
        shown = {name: browser.colour(f"{card('Main')} .cell.{name}") for name in ("busy", "bridged", "slot")}
        assert len(set(shown.values())) == 3  # they can be told apart
        gate.open()
        assert busy.get_packet()[0] == "ReturnPacket"
        browser.wait_for_text("2 of 6 in use, 0 evaluating", card("Main"))
    browser.wait_for_text("0 of 6 in use", card("Main"))


def test_kernels_are_rows_with_what_they_do(site, browser):
    with join(site.server) as link:
        identifier = kernel_id(link)
        gate = Gate(site.folder, "rows")
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        found = browser.wait_for(lambda: (one := row(browser, identifier)) and one["busy-time"] and one)
        assert found["pool-name"] == "Main" and found["state-cell"].strip() == "evaluating"
        assert re.match(r"Client \d+ 127\.0\.0\.1:\d+$", found["client"])
        assert re.fullmatch(r"\d+ s", found["busy-time"])
        browser.wait_for(lambda: re.fullmatch(r"\d+ MB", row(browser, identifier)["memory"]))
        assert found["host"] == browser.text("#machine")
        before = int(found["busy-time"].split()[0])
        browser.wait_for(lambda: int(row(browser, identifier)["busy-time"].split()[0]) > before, "time to pass")
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        browser.wait_for(lambda: row(browser, identifier)["busy-time"] == "")
        assert row(browser, identifier)["evaluations"] == "1"


def test_kernels_are_sorted_and_filtered(site, browser):
    with join(site.server) as first, join(site.server) as second:
        for number, link in ((3, first), (1, second)):
            for _ in range(number):
                link.evaluate(1)
        ids = [kernel_id(first), kernel_id(second)]
        browser.wait_for(lambda: [row(browser, one)["evaluations"] for one in ids if row(browser, one)] == ["3", "1"])
        browser.click_text("Evaluations", "#columns")
        browser.wait_for(lambda: [one["id"] for one in rows(browser)][:2] == ids, lambda: rows(browser))
        assert browser.run("document.querySelector('th.evaluations').ariaSort") == "descending"
        browser.click_text("Evaluations")
        browser.wait_for(lambda: [one["id"] for one in rows(browser)][-2:] == ids[::-1], lambda: rows(browser))
        assert browser.run("document.querySelector('th.evaluations').ariaSort") == "ascending"
        browser.click_text("Kernel", "#columns")
        browser.wait_for(lambda: [one["id"] for one in rows(browser)] == sorted(one["id"] for one in rows(browser)))
        browser.find("#filter").send_keys(ids[0])
        browser.wait_for(lambda: [one["id"] for one in rows(browser)] == ids[:1])
        browser.find("#filter").send_keys("nothing")
        browser.wait_for_text("No kernel matches the filter.")


def test_waiting_clients_are_listed_with_the_reason(site, browser):
    assert browser.texts("#waiting-section") == []
    with join(site.server) as first, join(site.server) as second:
        assert "Success" in first.command("ConnectKernel", "Second")
        second.put("WSCommandPacket", Function("ConnectKernel", "Second", 60.0))
        browser.wait_for_text("1 client waits", "#summary")
        browser.wait_for_text("1 of 1 kernels (1 bridged)", "#waiting")
        assert re.match(r"Client \d+\s+127.0.0.1:\d+\s+pool Second\s+\d+ s\s+1 of 1", browser.text("#waiting"))
        browser.wait_for_text("1 of 1 in use, 0 evaluating, 1 waiting", card("Second"))
    browser.wait_for(lambda: browser.texts("#waiting-section") == [])
    browser.wait_for_text("Everything is ready", "#summary")


def test_names_and_output_are_shown_as_they_are(site, browser):
    """Neither a pool's name nor what a kernel prints becomes a part of the page."""
    with join(site.server) as link:
        assert "Success" in link.command("ConnectKernel", HOSTILE)
        assert link.get_packet()[0] == "InputNamePacket"
        link.evaluate(Function("WriteOutput", f"{HOSTILE_OUTPUT}\n"))
        browser.wait_for_text(HOSTILE, "#pools")
        browser.wait_for_text(HOSTILE, "#kernels")
        browser.wait_for_text(HOSTILE_OUTPUT, "#log")
    assert browser.run("document.querySelectorAll('main img, main script, main b').length") == 0
    assert "owned" not in browser.driver.title


def test_the_log_goes_on(site, browser):
    with join(site.server) as link:
        address = "{}:{}".format(*link.data.getsockname())
        browser.wait_for_text(f"({address}) connected", "#log")
    browser.wait_for_text(f"({address}) disconnected", "#log")


def test_the_last_hour_is_a_line(site, browser):
    with join(site.server):
        browser.wait_for_text("1 of 6 in use", card("Main"))
        chart = f"{card('Main')} .chart"
        used = browser.run("document.querySelector(arguments[0]).getAttribute('d')", f"{chart} path.used")
        assert re.match(r"M\d+ 64(L\d+ [\d.]+H\d+)+V64$", used)
        assert browser.run("document.querySelector(arguments[0]).getBoundingClientRect().height", f"{chart} svg") == 64
        label = browser.run("document.querySelector(arguments[0]).getAttribute('aria-label')", f"{chart} svg")
        assert label == "Kernels of pool Main in use over the last hour, now 1"
    from selenium.webdriver import ActionChains

    svg = browser.find(f"{chart} svg")
    ActionChains(browser.driver).move_to_element_with_offset(svg, svg.size["width"] // 2 - 1, 0).perform()
    browser.wait_for(lambda: re.search(r": \d in use, [\d.]+ evaluating", browser.text(f"{chart} .middle")))


def test_without_the_token_there_are_no_buttons_and_a_wrong_one_is_told_so(site, browser):
    assert browser.texts("header button") == ["Sign in"]
    assert browser.texts("#pools button") == [] and browser.texts("#kernels button") == []
    sign_in(browser, "wrong")
    browser.wait_for_text("That failed:", "#sign-in-error")
    assert browser.texts("#pools button") == []
    browser.click_text("Cancel")
    assert [problem for problem in browser.problems() if "403" not in problem] == []


def test_the_buttons_of_somebody_who_has_signed_in(site, browser):
    sign_in(browser)
    browser.wait_for(lambda: browser.texts("header button") == ["Reload configuration", "Drain server", "Sign out"])
    gate = Gate(site.folder, "abort")
    with contextlib.closing(gate), join(site.server) as link, join(site.server) as other:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        browser.wait_for(lambda: (one := row(browser, identifier)) and one["state-cell"].strip() == "evaluating")
        browser.click(f"button[aria-label='Abort kernel {identifier}']")
        assert link.get_packet() == ("ReturnPacket", ABORTED)
        browser.wait_for_text(f"Kernel {identifier} was told to abort", "#toasts")

        browser.click(f"button[aria-label='Close kernel {kernel_id(other)}']")
        browser.wait_for_text("is using it, and its link will be closed", "#confirm-dialog")
        browser.click_text("Cancel", "#confirm-dialog")
        assert other.evaluate(1) == 1  # nothing happens without the confirmation
        browser.click(f"button[aria-label='Close kernel {kernel_id(other)}']")
        browser.click_text("Close kernel", "#confirm-dialog")
        assert other.get_packet()[0] == "TextPacket" and other.at_end()

    browser.click_text("Start kernel", card("Second"))
    browser.wait_for_text("of pool Second is starting", "#toasts")
    browser.click_text("Start kernel", card("Second"))
    browser.wait_for_text("as many as it may have (MaximumKernelNumber)", "#toasts")

    browser.click_text("Drain", card("Main"))
    browser.click_text("Drain", "#confirm-dialog")
    browser.wait_for_text("draining", card("Main"))
    browser.wait_for_text("1 pool drained or paused", "#summary")
    browser.click_text("Resume", card("Main"))
    browser.wait_for(lambda: "draining" not in browser.text(card("Main")))

    browser.click_text("Reload configuration", "header")
    browser.wait_for_text("nothing is different", "#log")
    browser.driver.refresh()  # the token is kept for this tab
    browser.wait_for(lambda: "Sign out" in browser.texts("header button"))
    browser.click_text("Sign out", "header")
    browser.wait_for(lambda: browser.texts("header button") == ["Sign in"])
    assert [problem for problem in browser.problems() if "409" not in problem] == []


def test_it_fits_on_small_screens(site, browser):
    """Also while they become larger, as when somebody turns a telephone round."""
    with join(site.server) as link:
        browser.wait_for_text(kernel_id(link), "#kernels")
        for width in (360, 390, 820):
            browser.show(width=width, height=800)
            browser.wait_for(lambda width=width: browser.run("innerWidth") == width, f"a window of {width} pixels")
            assert browser.run("document.documentElement.scrollWidth") <= width
            wide = """[...document.querySelectorAll('main *')].filter((e) => e.checkVisibility()
                && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.className)"""
            assert browser.run(wide) == [], width


def test_light_and_dark_are_what_the_system_says_and_legible(site, browser):
    """Also when it says something else while the page is open."""
    grounds, scheme = [], "matchMedia('(prefers-color-scheme: dark)').matches"
    for dark in (False, True):
        browser.show(dark=dark)
        browser.wait_for(lambda dark=dark: browser.run(scheme) is dark, "the scheme of colours")
        grounds.append(luminance(browser.colour("body")))
        for selector in (".pool-text", "h1", "th button", "#log p", "footer", ".legend li", ".chart-text"):
            ground = browser.colour(".panel" if selector != "footer" and selector != "h1" else "body")
            assert contrast(browser.colour(selector, "color"), ground) >= 4.5, (selector, dark)
    assert grounds[0] > 0.8 and grounds[1] < 0.02


def test_an_empty_server_says_what_happens_next(driver, tmp_path):
    with site_of(tmp_path, {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}) as site:
        browser = Browser(driver)
        browser.open(site.url)
        browser.wait_for_text("No kernel is running. The first client that needs one starts it.")
        browser.wait_for_text("0 of 2 in use, 0 evaluating", "#pools")
        browser.wait_for_text("Everything is ready", "#summary")


def test_a_pool_in_trouble_says_why_and_a_server_that_is_gone_is_noticed(driver, tmp_path):
    failing = make_kernel(tmp_path, exit_at_once=True, exit_code=3, last_output=HOSTILE_OUTPUT)
    with site_of(tmp_path, {"Main": pool(failing, MinimumKernelNumber=1)}) as site:
        browser = Browser(driver)
        browser.open(site.url)
        browser.wait_for_text("1 pool in trouble", "#summary")
        browser.wait_for_text(HOSTILE_OUTPUT, ".trouble")
    browser.wait_for_text("The server has not answered since", "#gone")
    browser.wait_for_text("Not connected", "#summary")
    assert browser.texts("header button") == []


def test_a_page_comes_back_with_its_server(driver, tmp_path):
    kernel = make_kernel(tmp_path)
    browser = Browser(driver)
    with site_of(tmp_path, {"Before": pool(kernel, MinimumKernelNumber=0)}) as site:
        browser.open(site.url)
        browser.wait_for_text("Before", "#pools")
        port = site.port
    browser.wait_for_text("The server has not answered since", "#gone")
    with site_of(tmp_path, {"After": pool(kernel, MinimumKernelNumber=0)}, HTTPPort=port):
        browser.wait_for_text("After", "#pools")
        assert browser.texts("#gone") == [] and "Before" not in browser.text("#pools")


def test_without_a_right_to_information_one_has_to_sign_in(driver, tmp_path):
    pools = {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}
    with site_of(tmp_path, pools, InformationFor="token") as site:
        browser = Browser(driver)
        browser.command("Network.enable")
        browser.command("Network.setExtraHTTPHeaders", headers={"X-Forwarded-For": "192.0.2.7"})
        try:
            browser.open(site.url)
            browser.wait_for_text("only to those who have an access token: sign in", "#gone")
            assert "Main" not in browser.text("main")
            sign_in(browser)
            browser.wait_for_text("Main", "#pools")
        finally:
            browser.command("Network.setExtraHTTPHeaders", headers={})
            browser.run("sessionStorage.clear()")


def luminance(colour):
    """The relative luminance of a colour as Chromium writes it (WCAG 2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
