"""The comparison: every way is measured, tables and plots come out, and nothing is left running."""
import contextlib
import json
import os
import signal
import subprocess
import uuid

import pytest

from tools.bench.compare.legs import LEGS
from tools.bench.compare.report import as_markdown, as_text, judge, update
from tools.bench.ends import LightEnds
from tools.bench.plotting import COLOURS
from tools.harness import forking, processes
from tools.harness.server import ROOT
from tools.harness.vendor import library_path
from tools.harness.waiting import wait_for


@contextlib.contextmanager
def starting():
    """start(*arguments) -> Popen of tools/compare; afterwards everything it started must be gone."""
    mark = f"WSTP_TEST_{uuid.uuid4().hex}"
    running = []

    def start(*arguments, **environment):
        running.append(subprocess.Popen(
            [ROOT / "tools" / "compare", *arguments], env={**os.environ, **environment, mark: "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=forking.heed_interrupts,
        ))  # fmt: skip
        return running[-1]

    try:
        yield start
    finally:
        for process in running:
            process.terminate()  # it clears away what it started
            try:
                process.communicate(timeout=60)
            finally:
                process.kill()
    wait_for(lambda: not processes.marked(mark), what="everything it started to end")


@pytest.fixture
def started():
    with starting() as start:
        yield start


def finish(process):
    output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    return output


WAYS = [name for name, leg in LEGS.items() if LightEnds in leg.between]


@pytest.fixture(scope="module")
def measured():
    """The document of all ways that can be measured here."""
    with starting() as start:
        ways = ",".join(name for name in WAYS if not LEGS[name].missing())
        return json.loads(finish(start("--trial", "--legs", ways, "--measures", "latency,bulk,depth", "--json")))


@pytest.mark.parametrize("name", WAYS)
def test_measures_each_way(measured, name):
    if lacks := LEGS[name].missing():
        pytest.skip(lacks)
    assert measured["machine"]["processors"] >= 1
    for key in ("light trivial", "light 100 KB", "light 5 MB", "beside bulk"):
        row = measured["tables"][key]["rows"][name]
        assert 0 < row["p50"] <= row["p90"] <= row["p99"] <= row["max"]
    assert all(rate > 0 for rate in measured["tables"]["depth"]["rows"][name].values())


def test_clients_connections_and_memory(started):
    measures = "clients,connections,memory"
    done = finish(started("--trial", "--legs", "direct,wstpserver", "--measures", measures, "--json"))
    tables = {key: found["rows"] for key, found in json.loads(done)["tables"].items()}
    for key in ("active 1", "active 10", "connections 1", "connections 50"):
        assert all(row["per second"] > 0 for row in tables[key].values())
        assert tables[key].keys() == {"direct", "wstpserver"}
    assert tables["active 10"]["wstpserver"]["processor us"] > 0
    assert tables["held"]["wstpserver"]["resident MB"] > 5


def test_growth_with_page_and_plots(started, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "figures.md"
    page.write_text("before\n<!-- table: growth -->\nold\n<!-- end -->\n<!-- table: other -->\nkept\n<!-- end -->\n")
    text = finish(started("--trial", "--measures", "growth", "--write", str(tmp_path / "figures")))
    assert "Clients of one server" in text
    assert "| 10 |" in page.read_text()
    assert "old" not in page.read_text()
    assert "kept" in page.read_text()
    assert (tmp_path / "figures" / "growth.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((tmp_path / "figures" / "compare.json").read_text())["tables"]["growth"]["rows"]
    assert list(rows) == ["1", "10"]
    assert all(row["evaluations per s"] > 0 for row in rows.values())


def test_vendor_ends(started):
    if library_path() is None:
        pytest.skip("WSTP_LIBRARY names no library")
    legs = "direct,direct without Nagle,wstpserver"
    document = json.loads(finish(started("--quick", "--legs", legs, "--measures", "vendor", "--json")))
    rows = document["tables"]["vendor trivial"]["rows"]
    assert rows["wstpserver"]["count"] > 100
    assert rows["direct"]["max"] > 30_000 > rows["direct without Nagle"]["p99"] > 0  # it waits for an acknowledgement
    ((_, measured, _),) = document["targets"]
    assert measured.endswith("µs at best")


def test_without_the_library_it_says_so(started):
    process = started("--legs", "vendor relay", "--measures", "vendor", "--quick", WSTP_LIBRARY="")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "vendor's library: skipped, WSTP_LIBRARY does not name it" in errors


def test_missing_programs_are_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("tools.bench.compare.legs._SYSTEM_FOLDERS", ())
    assert LEGS["nginx"].missing() == "nginx is not installed (Debian: apt install nginx libnginx-mod-stream)"
    assert LEGS["direct"].missing() is None


def test_interrupted_it_tells_what_it_has(started):
    process = started("--legs", "direct", "--measures", "latency,throughput", "--json")
    for line in process.stderr:
        if "starting direct" in line:
            break
    process.send_signal(signal.SIGINT)
    assert json.loads(finish(process))["interrupted"]


def test_unknown_ways_are_refused(started):
    process = started("--legs", "carrier-pigeon")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "carrier-pigeon" in errors


def test_a_way_for_other_ends_is_not_measured(started):
    options = ("--quick", "--legs", "direct without Nagle", "--measures", "latency,clients", "--json")
    document = json.loads(finish(started(*options)))
    assert document["tables"] == {}


DOCUMENT = {
    "tables": {
        "light trivial": {"title": "trivial", "rows": {
            "direct": {"p50": 10.0}, "wstpserver": {"p50": 40.0}, "haproxy": {"p50": 50.0}}},
        "active 100": {"title": "active", "rows": {
            "wstpserver": {"per second": 700.0}, "haproxy": {"per second": 1000.0}}},
        "packed 1000": {"title": "small ones do not count", "rows": {
            "wstpserver": {"up MB/s": 1.0, "down MB/s": 1.0}, "haproxy": {"up MB/s": 2.0, "down MB/s": 2.0}}},
    },
}  # fmt: skip


def test_targets():
    assert [(reached, measured) for _, measured, reached in judge(DOCUMENT)] == [
        (True, "30.0 µs, HAProxy 40.0 µs"), (False, "0.70"),
    ]  # fmt: skip


@pytest.mark.parametrize(("client", "reached"), [(25.0, True), (26.0, False)])
def test_an_idle_client_is_counted_with_its_kernel(client, reached):
    rows = {"1": {"KiB each": 0.0, "KiB a kernel": 0.0}, "1000": {"KiB each": client, "KiB a kernel": 15.0}}
    (found,) = judge({"tables": {"growth": {"title": "growth", "rows": rows}}})
    assert found == (
        "at most 40 KiB for an idle client and its kernel, 1,000 held",
        f"{client + 15:.1f} KiB, 15.0 of them for the kernel", reached,
    )  # fmt: skip


def test_every_way_has_a_colour():
    assert LEGS.keys() <= COLOURS.keys()


def test_tables_have_ratios(tmp_path):
    found = DOCUMENT["tables"]["light trivial"]
    assert as_text(found).splitlines()[2].split() == ["wstpserver", "40.0", "0.80"]
    assert "| wstpserver | 40.0 | 0.80 |" in as_markdown(found)


def test_pages_keep_what_was_not_measured(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table: light trivial -->\n<!-- end -->\n<!-- table: growth -->\nkept\n<!-- end -->\n")
    update(page, DOCUMENT)
    assert "| haproxy | 50.0 | 1.00 |" in page.read_text()
    assert "kept" in page.read_text()
