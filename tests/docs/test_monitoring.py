"""docs/monitoring.md: metrics, rules and queries, actions, events, as they are."""

import re
import shutil
import subprocess

import pytest

from tests.docs.pages import page
from tests.server.http.helpers import site_of
from tests.support.serving import join, ready_kernels
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, pool
from wstpserver.server.http.site import Actions

PAGE = page("docs/monitoring.md")
RULES = ROOT / "docs" / "monitoring" / "alerts.yml"
METRICS = {cells[0].strip("`"): set(re.findall(r"`(\w+)`", cells[1])) for cells in PAGE.table("metric")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitoring")
    kernel = make_kernel(folder)
    with site_of(folder, {"Main": pool(kernel, MinimumKernelNumber=1)}) as site:
        ready_kernels(site.server, 1)
        yield site


def base(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_the_table_has_every_metric_with_its_labels(site):
    pytest.importorskip("prometheus_client")
    found = {}
    for sample in site.metrics():
        name, _, labels = sample.partition("{")
        found.setdefault(base(name), set()).update(set(re.findall(r"(\w+)=\"", labels)) - {"le"})
    assert {name: labels for name, labels in found.items() if name.startswith("wstpserver_")} == METRICS


def promtool():
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    return program


def run(*words):
    done = subprocess.run([promtool(), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_alert_rules_are_valid_and_about_metrics_that_there_are():
    assert "SUCCESS: 7 rules found" in run("check", "rules", str(RULES))
    named = set(re.findall(r"\bwstpserver_\w+", RULES.read_text("utf-8")))
    assert named and {base(name) for name in named} <= set(METRICS)


def test_the_queries_are_valid_and_about_metrics_that_there_are(tmp_path):
    queries = [cells[1].strip("`") for cells in PAGE.table("panel")]
    rules = "".join(f"      - {{record: 'test:q{number}', expr: '{query}'}}\n" for number, query in enumerate(queries))
    path = tmp_path / "queries.yml"
    path.write_text(f"groups:\n  - name: queries\n    rules:\n{rules}")
    assert f"SUCCESS: {len(queries)} rules found" in run("check", "rules", str(path))
    assert {base(name) for query in queries for name in re.findall(r"wstpserver_\w+", query)} <= set(METRICS)
    autoscaler = next(block for block in PAGE.blocks if "HorizontalPodAutoscaler" in block)
    assert set(re.findall(r"name: (wstpserver_\w+)", autoscaler)) <= set(METRICS)


def test_prometheus_takes_the_configuration(tmp_path):
    (block,) = [block for block in PAGE.blocks if block.startswith("scrape_configs:")]
    path = tmp_path / "prometheus.yml"
    path.write_text(block)
    run("check", "config", str(path))


def test_the_table_has_every_action():
    rows = PAGE.table("action")
    assert {cells[0].strip("`") for cells in rows} == Actions.NAMES


def test_the_probes_and_paths_exist(site):
    paths = [cells[0].strip("`") for cells in PAGE.table("path")]
    for path in paths:
        if path not in ("/events", "/actions/NAME"):
            assert site.get(path).status == 200, path
    for path in re.findall(r"path: (/\w+)", PAGE.text):
        assert path in paths


def test_the_table_has_every_member_of_the_events(site):
    told = {}
    for cells in PAGE.table("member"):
        names = re.findall(r"`(\w+)`", cells[0])
        told |= dict.fromkeys(names, set(re.findall(r"`(\w+)`", cells[1])))
    with join(site.server), site.events() as events:
        events.next()
        state = events.state
        events.wait_for(lambda state: state["Kernels"])
    assert set(state) == set(told)
    assert set(state["Server"]) == told["Server"]
    for kernel in state["Kernels"].values():
        assert set(kernel) <= told["Kernels"] | {"KeepAlive", "Reserved"}
    assert set(state["Log"][0]) == told["Log"]
