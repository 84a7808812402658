"""/metrics of a running server: the format, and every figure after it was used."""

import re
import shutil
import socket
import subprocess

import pytest

from tests.server.http.helpers import DEADLINE, site_of
from tests.support.serving import ERROR, Gate, enter, join, kernel_id, prompt, ready_kernels
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import pool
from tools.harness.waiting import wait_for

pytest.importorskip("prometheus_client")

SECOND = 'pool="Second \\"quoted\\""'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    kernel = make_kernel(folder)
    failing = make_kernel(folder, "failing", exit_at_once=True, exit_code=3)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=2, MaximumKernelNumber=4, KeepAlive=False),
        'Second "quoted"': pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1, KeepAlive=False),
        "Failing": pool(failing, MinimumKernelNumber=0, MaximumKernelNumber=1),
    }
    with site_of(folder, pools, MaximumClients=6) as site:
        site.folder, site.kernel = folder, kernel
        ready_kernels(site.server, 2)
        yield site


def wait_for_metric(site, condition):
    """The metrics, once the condition holds for them."""

    def found():
        now = site.metrics()
        return now if condition(now) else None

    return wait_for(found, DEADLINE)


def started_outside(link, kernel):
    """The ID of a kernel that was started outside pools."""
    return re.search("[0-9a-f-]{14}", link.command("StartKernel", kernel))[0]


def test_promtool_finds_nothing_to_say(site):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    with join(site.server) as link:
        identifier = started_outside(link, site.kernel)
        text = site.get("/metrics").body
        link.command("CloseKernel", identifier)
    checked = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, timeout=DEADLINE)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("", "text/plain; version="), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
def test_the_format_is_the_one_that_is_asked_for(site, accept, kind):
    answer = site.get("/metrics", headers={"Accept": accept})
    assert answer.status == 200 and answer.headers["Content-Type"].startswith(kind)


def test_kernels_by_state_and_those_that_evaluate(site):
    before = wait_for_metric(site, lambda now: now["wstpserver_clients"] == 0)
    gate = Gate(site.folder, "busy")
    with join(site.server) as link, join(site.server):
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        now = site.metrics()
        assert now['wstpserver_kernels{pool="Main",state="bridged"}'] == 2
        assert now['wstpserver_busy_kernels{pool="Main"}'] == 1
        assert now["wstpserver_clients"] == before["wstpserver_clients"] + 2
        assert now["wstpserver_links_total"] == before["wstpserver_links_total"] + 2
        assert now['wstpserver_pool_recent_peak_used_kernels{pool="Main"}'] >= 2
        assert now['wstpserver_pool_recent_peak_use_ratio{pool="Main"}'] >= 0.5
        assert now['wstpserver_pool_size{bound="minimum",pool="Main"}'] == 2
        assert now['wstpserver_pool_size{bound="maximum",pool="Main"}'] == 4
        assert now[f"wstpserver_kernels{{{SECOND},state=\"free\"}}"] == 0
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        assert site.metrics()['wstpserver_busy_kernels{pool="Main"}'] == 0


def test_evaluations_their_time_and_the_bytes(site):
    text = "x" * 50_000
    with join(site.server) as link:
        before = site.metrics()
        for _ in range(30):
            assert link.evaluate(text) == text
        link.evaluate(Function("Sleep", 0.2))
        after = wait_for_metric(
            site, lambda now: now['wstpserver_evaluations_total{pool="Main"}']
            == before['wstpserver_evaluations_total{pool="Main"}'] + 31,
        )  # fmt: skip
    added = {name: value - before.get(name, 0) for name, value in after.items()}
    duration = "wstpserver_evaluation_duration_seconds"
    assert added[f'{duration}_count{{pool="Main"}}'] == 31
    assert 0.2 <= added[f'{duration}_sum{{pool="Main"}}'] < 20
    assert added[f'{duration}_bucket{{le="0.1",pool="Main"}}'] < 31
    for source in ("clients", "kernels"):
        assert added[f'wstpserver_received_bytes_total{{source="{source}"}}'] >= 30 * len(text)


def test_waits_and_how_they_end(site):
    with join(site.server) as first, join(site.server) as second:
        before = site.metrics()
        enter(first, "ConnectKernel", 'Second "quoted"')
        assert second.command("ConnectKernel", 'Second "quoted"', 0.1) == ERROR
        second.put("WSCommandPacket", Function("ConnectKernel", 'Second "quoted"', 30.0))
        now = wait_for_metric(site, lambda now: now[f"wstpserver_waiting_clients{{{SECOND}}}"] == 1)
        assert now[f"wstpserver_pool_recent_peak_waiting_clients{{{SECOND}}}"] == 1
        first.command("DisconnectKernel")
        assert prompt(second)[0] == "ReturnPacket"
    after = site.metrics()
    added = {name: value - before.get(name, 0) for name, value in after.items()}
    assert added[f'wstpserver_waits_total{{outcome="granted",{SECOND}}}'] == 2
    assert added[f'wstpserver_waits_total{{outcome="timed out",{SECOND}}}'] == 1
    assert added[f"wstpserver_wait_duration_seconds_count{{{SECOND}}}"] == 3
    assert added[f"wstpserver_wait_duration_seconds_sum{{{SECOND}}}"] >= 0.1


def test_starts_failures_and_deaths(site):
    before = site.metrics()
    with join(site.server) as link:
        assert link.command("ConnectKernel", "Failing", 0.3) == ERROR
    with join(site.server) as link:
        link.put("EvaluatePacket", Function("Die"))
        assert link.get_packet()[0] == "TextPacket"  # how it died
    after = wait_for_metric(
        site, lambda now: now['wstpserver_kernel_deaths_total{pool="Main"}']
        == before['wstpserver_kernel_deaths_total{pool="Main"}'] + 1,
    )  # fmt: skip
    assert after['wstpserver_kernel_start_failures_total{pool="Failing"}'] >= 1
    assert after['wstpserver_kernel_starts_total{pool="Main"}'] >= 3
    wait_for_metric(
        site, lambda now: now['wstpserver_kernel_start_duration_seconds_count{pool="Main"}']
        > before['wstpserver_kernel_start_duration_seconds_count{pool="Main"}'],
    )  # fmt: skip
    assert after['wstpserver_kernel_start_failures_total{pool="Main"}'] == 0


def test_refused_connections_by_reason(site):
    before = site.metrics()
    with socket.create_connection(("127.0.0.1", site.server.port), DEADLINE) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while stranger.recv(4096):
            pass
    name = 'wstpserver_refused_connections_total{reason="no link"}'
    assert site.metrics()[name] == before[name] + 1
    links = [site.server.connect() for _ in range(7)]
    try:
        name = 'wstpserver_refused_connections_total{reason="MaximumClients"}'
        wait_for_metric(site, lambda now: now[name] >= before[name] + 1)
    finally:
        for one in links:
            one.close()
    wait_for_metric(site, lambda now: now["wstpserver_clients"] == 0)


def test_kernels_outside_pools(site):
    name = 'wstpserver_kernels{pool="",state="free"}'
    with join(site.server) as link:
        wait_for_metric(site, lambda now: now.get(name, 0) == 0)
        identifier = started_outside(link, site.kernel)
        assert site.metrics()[name] == 1
        link.command("CloseKernel", identifier)
        wait_for_metric(site, lambda now: now[name] == 0)


def test_memory_and_the_server_itself(site):
    now = wait_for_metric(site, lambda now: now['wstpserver_kernel_resident_memory_bytes{pool="Main"}'] > 10e6)
    assert now["process_resident_memory_bytes"] > 10e6
    assert now["process_cpu_seconds_total"] > 0 and now["process_open_fds"] > 5
    assert now["wstpserver_loop_lag_seconds_count"] >= 1
    assert 0 <= now["wstpserver_loop_lag_recent_peak_seconds"] < 60
    assert [name for name in now if name.startswith("wstpserver_info{version=")]


def test_the_kernel_of_a_client_is_in_the_figures_under_its_state(site):
    with join(site.server) as link:
        identifier = kernel_id(link)
        link.command("SetReserveKernel", Symbol("True"))
        link.command("SetKeepAlive", Symbol("True"))
        link.command("DisconnectKernel")
        assert site.metrics()['wstpserver_kernels{pool="Main",state="reserved"}'] == 1
        link.command("CloseKernel", identifier)
