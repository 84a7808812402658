"""Probes, events and actions over HTTP, and what is refused."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.server.http.helpers import AUTHORISED, DEADLINE, TOKEN, Site, site_of
from tests.support.serving import (
    ABORTED,
    Gate,
    Since,
    join,
    kernel_id,
    one_pool,
    ready_kernels,
    serving,
)
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    kernel = make_kernel(folder)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=2, MaximumKernelNumber=5, KeepAlive=False),
        HOSTILE: pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1),
    }
    with site_of(folder, pools, HTTPHostNames="status.example.org other.example.org") as site:
        site.folder = folder
        ready_kernels(site.server, 2)
        yield site


# Probes


def test_a_server_whose_pools_are_full_is_live_and_ready(site):
    assert (site.get("/live").status, site.get("/live").text) == (200, "live\n")
    answer = wait_for(lambda: (found := site.get("/ready")).status == 200 and found, DEADLINE)
    assert answer.text == "ready\n"
    assert site.get("/ready", "HEAD").body == b""


def test_it_is_not_ready_before_the_first_kernels_are_and_says_why(tmp_path):
    gate = Gate(tmp_path, "start")
    kernel = make_kernel(tmp_path, start_gate=gate.path)
    with site_of(tmp_path, {"Main": pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=2)}) as site:
        answer = site.get("/ready")
        assert answer.status == 503 and answer.headers["Retry-After"] == "5"
        assert answer.text == "not ready\n0 of at least 1 kernel of pool Main are ready\n"
        assert site.get("/live").status == 200
        gate.open()
        wait_for(lambda: site.get("/ready").status == 200, DEADLINE)
        # one that is closed and replaced does not matter: another is coming
        with join(site.server) as link, site.events() as page:
            identifier = kernel_id(link)
            assert site.act("close", Kernel=identifier).status == 200
            page.wait_for(lambda state: state["Kernels"] and identifier not in state["Kernels"])
            assert site.get("/ready").status == 200


def test_a_pool_whose_kernels_do_not_start_is_the_reason(tmp_path):
    failing = make_kernel(tmp_path, exit_at_once=True, exit_code=3, last_output="No valid password found.")
    with site_of(tmp_path, {"Main": pool(failing, MinimumKernelNumber=1)}) as site:
        site.server.wait_for_log("did not start")
        answer = site.get("/ready")
    assert answer.status == 503
    assert "0 of at least 1 kernel of pool Main are ready: The last kernel that was started" in answer.text
    assert "exit status 3" in answer.text and "No valid password found." in answer.text


# What is asked for, and how


def test_the_page_and_its_parts_need_nothing_from_elsewhere(site):
    page = site.get("/")
    assert page.status == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8"
    for path in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
        assert "://" not in path and site.get(f"/{path}").status in (200, 503), path
    for path in ("/page.css", "/page.js"):
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", site.get(path).text), path
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/../app.py", 404), ("GET", "/page/index.html", 404),
        ("GET", "/%2e%2e/app.py", 404), ("POST", "/", 405), ("DELETE", "/metrics", 405), ("GET", "/actions/close", 405),
    ],
)  # fmt: skip
def test_what_is_not_there(site, method, path, status):
    answer = site.get(path, method)
    assert answer.status == status and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:1234", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("192.0.2.1", 200),
        ("status.example.org", 200), ("Other.Example.org:8080", 200), (socket.gethostname(), 200),
        ("evil.example.com", 421), ("localhost.evil.example.com", 421), ("", 421), ("127.0.0.1.nip.io", 421),
        ("<script>", 421),
    ],
)  # fmt: skip
def test_a_request_has_to_name_this_host(site, host, status):
    """Otherwise a page of the web could read the status page, under a name that leads here."""
    for path in ("/", "/metrics", "/events") if status == 421 else ("/",):
        assert site.get(path, headers={"Host": host}).status == status


def test_a_refused_host_is_told_what_to_do(site):
    answer = site.get("/", headers={"Host": "evil.example.com"})
    assert "HTTPHostNames" in answer.text and "evil.example.com" in answer.text


# Events


def test_a_page_gets_a_snapshot_and_then_what_changes(site):
    with site.events() as page:
        assert page.headers["Content-Type"] == "text/event-stream"
        name, message = page.next()
        assert name == "state" and set(message["Pools"]) == {"Main", HOSTILE}
        assert message["Server"]["Version"] and message["Now"] == pytest.approx(time.time(), abs=60)
        assert message["Pools"]["Main"]["MaximumKernelNumber"] == 5
        with join(site.server) as link:
            identifier = kernel_id(link)
            page.wait_for(lambda state: state["Kernels"][identifier]["Client"])
            kernel = page.state["Kernels"][identifier]
            assert (kernel["State"], kernel["Busy"], kernel["Pool"]) == ("bridged", False, "Main")
            gate = Gate(site.folder, "events")
            link.put("EvaluatePacket", gate.busy())
            page.wait_for(lambda state: state["Kernels"][identifier]["Busy"])
            began = page.state["Kernels"][identifier]["BusySince"]
            assert began == pytest.approx(time.time(), abs=60)
            gate.open()
            assert link.get_packet()[0] == "ReturnPacket"
            page.wait_for(lambda state: not state["Kernels"][identifier]["Busy"])
            assert page.state["Kernels"][identifier]["Evaluations"] == 1
        page.wait_for(lambda state: identifier not in state["Kernels"])


def test_events_are_small_when_little_changes(site):
    with site.events() as page:
        page.next()
        while "Kernels" in (message := page.next()[1]) or "Log" in message or "Points" in message:
            pass
        assert set(message) <= {"Now", "Server", "Administrator"} and set(message.get("Server", {})) <= {"Lag"}


def test_waiting_clients_are_shown_with_the_reason(site):
    with join(site.server) as first, join(site.server) as second, site.events() as page:
        assert "Success" in first.command("ConnectKernel", HOSTILE)
        second.put("WSCommandPacket", Function("ConnectKernel", HOSTILE, 30.0))
        (waiting,) = page.wait_for(lambda state: state.get("Waiting"))
        assert waiting["Wanted"] == f"pool {HOSTILE}" and waiting["Client"].startswith("Client ")
        assert waiting["Reason"] == "1 of 1 kernels (1 bridged)"
        assert page.state["WaitingNumber"] == 1 and page.state["Pools"][HOSTILE]["WaitingClients"] == 1
    with site.events() as page:
        page.wait_for(lambda state: state.get("WaitingNumber") == 0)


def test_addresses_and_the_log_are_for_the_administrator(site):
    proxied = {"X-Forwarded-For": "192.0.2.7"}
    with join(site.server) as link:
        identifier, address = kernel_id(link), "{}:{}".format(*link.data.getsockname())
        with site.events() as mine, site.events(proxied) as theirs, site.events(proxied | AUTHORISED) as signed_in:
            for page in (mine, theirs, signed_in):
                page.wait_for(lambda state: state.get("Kernels", {}).get(identifier))
            assert [page.state["Administrator"] for page in (mine, theirs, signed_in)] == [True, False, True]
            for page in (mine, signed_in):
                assert page.state["Kernels"][identifier]["Address"] == address
                assert any(address in entry["text"] for entry in page.state["Log"])
                assert page.state["Server"]["ConfigurationFile"]
            told = json.dumps([theirs.state, theirs.next()])
    assert address not in told and str(site.folder) not in told and not theirs.state["Log"]


@pytest.mark.parametrize("rule", ["bridged", "token"])
def test_information_that_is_not_for_everybody_is_not_on_the_page_either(tmp_path, rule):
    proxied = {"X-Forwarded-For": "192.0.2.7"}
    pools = {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}
    with site_of(tmp_path, pools, InformationFor=rule) as site:
        answer = site.get("/events", headers=proxied)
        assert answer.status == 401 and "InformationFor" in answer.json["error"]
        for headers in ({}, proxied | AUTHORISED):
            with site.events(headers) as page:
                assert "Main" in page.next()[1]["Pools"]


def test_open_pages_are_limited_and_a_place_is_free_again(site):
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(site.events()) for _ in range(16)]
        answer = site.get("/events")
        assert answer.status == 503 and answer.headers["Retry-After"]
        assert all(page.next()[0] == "state" for page in pages)
        assert site.get("/metrics").status == 200  # everybody else is served

    def free():
        with contextlib.suppress(AssertionError), site.events() as page:
            return page.next()

    assert wait_for(free, DEADLINE)[0] == "state"


def test_a_page_that_does_not_read_is_dropped(site):
    """It neither holds the others up nor needs much memory: its connection ends when some events wait for it."""
    request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as sleepy, site.events() as page, join(site.server) as link:
        sleepy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleepy.settimeout(DEADLINE)
        sleepy.connect((site.host, site.port))
        sleepy.sendall(request)
        identifier = kernel_id(link)
        page.wait_for(lambda state: state.get("Kernels", {}).get(identifier))
        for number in range(20):  # each makes a large event
            words = "x" * 1900
            link.evaluate(Function("WriteOutput", "".join(f"round {number} {words}\n" for _ in range(40))))
            site.act("check")  # everybody is told at once
            page.wait_for(lambda state, number=number: any(f"round {number} " in one["text"] for one in state["Log"]))
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := sleepy.recv(65536):
                received += len(part)
        assert 0 < received < 2_000_000
        assert link.evaluate(1) == 1


# Actions


def test_a_kernel_is_closed_and_its_client_told(site):
    with join(site.server) as link:
        identifier = kernel_id(link)
        answer = site.act("close", Kernel=identifier)
        assert (answer.status, answer.json) == (200, {"result": f"Kernel {identifier} is being closed"})
        assert link.get_packet() == ("TextPacket", "WSTPServer: the administrator closed the kernel\n")
        assert link.at_end()
    site.server.wait_for_log(f"close of 127.0.0.1 on the status page: Kernel {identifier} is being closed")


def test_an_evaluation_is_aborted(site):
    gate = Gate(site.folder, "abort")
    with contextlib.closing(gate), join(site.server) as link:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        assert site.act("abort", Kernel=identifier).status == 200
        assert link.get_packet() == ("ReturnPacket", ABORTED)


def test_a_kernel_is_started_and_a_full_pool_says_so(site):
    with site.events() as page:
        page.next()
        answer = site.act("start", Pool=HOSTILE)
        if answer.status == 409:  # it has its only kernel from another test
            assert "as many as it may have (MaximumKernelNumber)" in answer.json["error"]
        else:
            page.wait_for(lambda state: any(one["Pool"] == HOSTILE for one in state["Kernels"].values()))
            assert site.act("start", Pool=HOSTILE).status == 409
        identifier = re.search("[0-9a-f-]{14}", site.act("start").json["result"])[0]
        page.wait_for(lambda state: state["Kernels"].get(identifier, {}).get("State") == "free")
        assert page.state["Kernels"][identifier]["Pool"] == ""
        assert site.act("close", Kernel=identifier).status == 200


def test_a_drained_pool_admits_nobody_until_it_is_resumed(site):
    assert site.act("drain", Pool="Main").json["result"] == "Pool Main admits no more clients"
    try:
        with site.server.connect() as link:
            assert link.get_packet()[0] == "TextPacket" and link.at_end()
    finally:
        assert site.act("resume", Pool="Main").status == 200
    with join(site.server) as link:
        assert link.evaluate(1) == 1


def test_the_configuration_is_read_again(site):
    since = Since(site.server)
    assert site.act("reload").status == 200
    since.wait_for("The configuration was reloaded:\n    nothing is different")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401), ({"Authorization": "Basic abc"}, 401), ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer wrong"}, 403), ({"Authorization": f"Bearer {TOKEN}x"}, 403),
        ({"Cookie": f"token={TOKEN}"}, 401),
        (AUTHORISED | {"Origin": "http://evil.example.com"}, 403),
        (AUTHORISED | {"Origin": "null"}, 403),
        (AUTHORISED | {"Sec-Fetch-Site": "cross-site"}, 403),
        (AUTHORISED | {"Sec-Fetch-Site": "same-site"}, 403),
        (AUTHORISED | {"Content-Type": "text/plain"}, 415),
        (AUTHORISED | {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (AUTHORISED | {"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)  # fmt: skip
def test_an_action_needs_the_token_and_the_page_itself(site, headers, status):
    since = Since(site.server)
    answer = site.act("reload", headers)
    assert answer.status == status
    with join(site.server):
        since.wait_for("connected")
    assert ("The configuration was reloaded" in since.log) is (status == 200)
    if status != 200:
        assert answer.json["error"] and TOKEN not in answer.text


@pytest.mark.parametrize(
    ("action", "body", "status"),
    [
        ("close", b"{", 400), ("close", b"[]", 400), ("close", b'{"Kernel": 3}', 400), ("close", b"{}", 400),
        ("close", b'{"Kernel": "x", "Force": "y"}', 400), ("close", b'{"Kernel": "<b>"}', 409),
        ("close", b'{"Kernel": "' + b"x" * 5000 + b'"}', 413), ("start", b'{"Pool": "none"}', 409),
        ("__init__", b"{}", 404), ("_pool", b"{}", 404), ("explode", b"{}", 404), ("drain", b"\xff", 400),
        ("abort", b'{"Kernel": "' + b"[" * 2000 + b'"}', 409), ("abort", b"[" * 4000, 400),
    ],
)  # fmt: skip
def test_a_bad_action_is_refused_with_the_reason(site, action, body, status):
    answer = site.get(f"/actions/{action}", "POST", AUTHORISED | {"Content-Type": "application/json"}, body)
    assert answer.status == status and answer.json["error"]


def test_there_are_no_actions_without_a_token_file(tmp_path):
    with site_of(tmp_path, {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}, AccessTokenFile="") as site:
        answer = site.act("reload")
        assert answer.status == 403 and "AccessTokenFile" in answer.json["error"]
        with site.events() as page:
            assert "AccessTokenFile" in page.next()[1]["Server"]["NoActions"]


# Attackers and the like


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"POST /actions/close HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /actions/close HTTP/1.0\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request_ends_with_an_error(site, data):
    answer = site.raw(data)
    assert re.match(rb"HTTP/1\.[01] 4\d\d ", answer), answer[:100]


def test_clients_that_break_off_leave_nothing_behind(site):
    whole = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for data in (b"", whole[:6], whole, whole[:30], b"\0\r\n\r\n", whole.replace(b"metrics", b"events")):
        for _ in range(10):
            with socket.create_connection((site.host, site.port), DEADLINE) as connection:
                connection.sendall(data)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert site.get("/live").status == 200


# Who may connect


def test_an_address_that_is_not_admitted_gets_no_answer(tmp_path):
    pools = {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}
    with site_of(tmp_path, pools, AllowedAddresses=["127.0.0.1"]) as site:
        assert site.get("/live").status == 200
        for path in ("/", "/metrics", "/live", "/events"):
            assert _answer_from("127.0.0.2", site.port, path) == b""
        assert site.metrics()['wstpserver_refused_connections_total{reason="not admitted"}'] == 4
        refused = r"Refused a connection from 127\.0\.0\.2:\d+ over HTTP: its address is not in AllowedAddresses"
        site.server.wait_for_log(refused)


def _answer_from(host, port, path):
    try:
        with socket.create_connection(("127.0.0.1", port), DEADLINE, source_address=(host, 0)) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            return connection.recv(100)
    except ConnectionError:
        return b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_user_who_is_not_admitted_gets_no_answer(tmp_path):
    pools = {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}
    with site_of(tmp_path, pools, AllowedUsers=["self"]) as site:
        script = f"""
import socket
try:
    connection = socket.create_connection(("127.0.0.1", {site.port}))
    connection.sendall(b"GET /metrics HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
    print(len(connection.recv(100)))
except ConnectionError:
    print(0)
"""
        other = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
        words = [*other, sys.executable, "-S", "-E", "-c", script]
        assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == "0\n"
        refused = r"Refused a connection from 127\.0\.0\.1:\d+ over HTTP: user 54321 is not in AllowedUsers"
        site.server.wait_for_log(refused)
        assert site.get("/metrics").status == 200


# The port


def test_more_connections_than_descriptors(site):
    """They wait, the log says so once, and they are served when others have left."""
    seen = len(site.server.log)
    limits = resource.prlimit(site.server.pid, resource.RLIMIT_NOFILE)
    used = max(processes.open_descriptors(site.server.pid)) + 1
    try:
        resource.prlimit(site.server.pid, resource.RLIMIT_NOFILE, (used + 4, limits[1]))
        with contextlib.ExitStack() as stack:
            for _ in range(12):
                stack.enter_context(socket.create_connection((site.host, site.port), DEADLINE))
            wait_for(lambda: "No HTTP connection can be accepted" in site.server.log[seen:], DEADLINE, "the log")
        assert site.get("/live").status == 200
        wait_for(lambda: "HTTP connections can be accepted again" in site.server.log[seen:], DEADLINE, "the log")
    finally:
        resource.prlimit(site.server.pid, resource.RLIMIT_NOFILE, limits)
    assert site.server.log[seen:].count("No HTTP connection can be accepted") == 1


def test_http_goes_on_when_the_server_restarts(site, tmp_path):
    """On the same port. Pages end, and the next ones show the same kernels."""
    configuration = one_pool(make_kernel(tmp_path), 1)
    with serving(tmp_path, {**configuration, "HTTPPort": 0}) as server, join(server) as link:
        (path,) = tmp_path.glob("*.conf")
        first = Site(server)
        path.write_text(json.dumps({**configuration, "HTTPPort": first.port, "KernelsOutliveServer": 0}))
        with first.events() as page:
            before = page.wait_for(lambda state: state["Kernels"])
            server.process.send_signal(signal.SIGUSR2)
            while page.next() is not None:
                pass
        server.wait_for_log("Restarted with 1 kernel and 1 client")
        second = Site(server)
        second.find_port(2)
        assert second.port == first.port
        with second.events() as page:
            (kernel,) = page.wait_for(lambda state: state["Kernels"]).values()
            assert (kernel["ProcessID"], kernel["State"]) == (*[one["ProcessID"] for one in before.values()], "bridged")
        assert link.evaluate(1) == 1


def test_without_a_port_there_is_nothing_of_it(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path))) as server:
        ready_kernels(server, 1)

        def listening():
            sockets = psutil.Process(server.pid).net_connections("inet")
            return {one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN}

        wait_for(lambda: listening() == {server.port}, DEADLINE)
    assert "Status page" not in server.log


def test_a_port_in_use_is_a_clear_error(site, tmp_path):
    configuration = one_pool(make_kernel(tmp_path), root={"HTTPPort": site.port})
    server = ServerProcess(tmp_path, configuration).launch()
    try:
        assert server.wait_for_exit() == 69
        text = f"Cannot listen on port {site.port} and interface localhost: the port is in use"
        assert f"{text}, perhaps by another server; choose another with HTTPPort" in server.log
        server.assert_no_process_left()
    finally:
        server.kill()


def test_a_reload_opens_moves_and_closes_the_port(site, tmp_path):
    configuration = one_pool(make_kernel(tmp_path), 1)
    with serving(tmp_path, configuration) as server:
        (path,) = tmp_path.glob("*.conf")

        def reload(pattern, **keys):
            seen = len(server.log)
            path.write_text(json.dumps(configuration | keys))
            server.process.send_signal(signal.SIGHUP)
            return wait_for(lambda: re.search(pattern, server.log[seen:]), DEADLINE, lambda: server.log[seen:])

        with join(server) as link:
            reload("Status page and metrics on", HTTPPort=0)
            first = Site(server)
            with first.events() as page:
                assert len(page.next()[1]["Kernels"]) >= 1
                reload("HTTP stays where it was: Cannot listen on .* HTTPPort", HTTPPort=site.port)
                while page.next() is not None:  # its port was closed for a moment
                    pass
            second = Site(server)
            second.find_port(2)
            assert second.get("/metrics").status == 200
            reload("HTTPPort: .* -> -1", HTTPPort=-1)
            wait_for(lambda: _refuses(second), DEADLINE)
            assert link.evaluate(1) == 1


def _refuses(site):
    try:
        site.get("/live")
    except ConnectionRefusedError:
        return True
    except ConnectionError:  # it was in the line when the port was closed
        return False
    return False


def test_a_port_that_others_can_reach_is_warned_about(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), 0, root={"HTTPPort": 0, "HTTPInterface": "0.0.0.0"})
    with serving(tmp_path, configuration) as server:
        match = server.wait_for_log(r"Whoever reaches port (\d+) of this computer can read the status page")
        assert Site.get(_at(int(match[1])), "/live").status == 200


def _at(port):
    site = Site.__new__(Site)
    site.host, site.port = "127.0.0.1", port
    return site


def test_pages_end_when_the_server_stops(tmp_path):
    with site_of(tmp_path, {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=1)}) as site, site.events() as page:
        page.next()
        site.server.process.send_signal(signal.SIGTERM)
        page.wait_for(lambda state: state["Server"]["Stopping"])
        while page.next() is not None:
            pass
