"""A planned restart: what is under way goes on in the next program. A program that cannot start changes nothing."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import uuid

import pytest

from tests.support.serving import (
    SUCCESS,
    Gate,
    Since,
    assert_serves,
    enter,
    evaluate_length,
    join,
    kernel_id,
    kernel_process,
    kernels,
    message_of,
    one_pool,
    prompt,
    ready_kernels,
    reconnect,
    restart,
    send_beginning,
    serving,
    wait_until_busy,
)
from tests.support.settings import make_settings
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.rawlink import RawLink
from tools.harness.server import ROOT, pool
from tools.harness.waiting import wait_for
from wstpserver.server.app import can_start
from wstpserver.server.handover import check_words

ABORT = 3

SCENARIOS = {}


def scenario(function):
    """A generator that brings something under way, yields while the server is restarted, and then checks."""
    SCENARIOS[function.__name__] = function
    return function


def compute(link, folder, name):
    """Have the kernel of a link compute; returns the gate that ends it."""
    gate = Gate(folder, name)
    link.put("EvaluatePacket", gate.busy())
    gate.wait_until_reached()
    return gate


def assert_takes_over(link, kernel, owner, gate):
    """The kernel, for which `link` has asked, becomes its own once `owner` has its answer."""
    gate.open()
    assert owner.get_packet() == ("ReturnPacket", gate.path)
    assert "another client connected" in message_of(owner.get_packet())
    assert_gets(link, kernel)


def assert_gets(link, kernel):
    """The command that waits for this kernel succeeds."""
    assert link.get_packet() == ("ReturnPacket", SUCCESS)
    assert prompt(link)[0] == "InputNamePacket"
    assert kernel_id(link) == kernel


# What survives. All of it is under way in one server, which is restarted once.


@scenario
def an_idle_link_with_its_kernel(server, folder):
    with join(server) as link:
        kernel, process = kernel_id(link), kernel_process(link)
        yield
        assert (kernel_id(link), kernel_process(link)) == (kernel, process)
        assert link.evaluate(Function("Plus", 1, 2)) == 3


@scenario
def a_computation_and_what_waits_behind_it(server, folder):
    with join(server) as link:
        gate = compute(link, folder, "computation")
        for number in range(3):
            link.put("EvaluatePacket", Function("Plus", number, 100))
        yield
        gate.open()
        assert link.get_packet() == ("ReturnPacket", gate.path)
        assert [link.get_packet() for _ in range(3)] == [("ReturnPacket", 100 + number) for number in range(3)]


@scenario
def an_abort_of_a_computation(server, folder):
    with join(server) as link:
        gate = compute(link, folder, "abort")
        yield
        link.send_message(ABORT)
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
        gate.close()


@scenario
def an_open_question(server, folder):
    with join(server) as link:
        link.put("EvaluatePacket", Function("AskString", "name? "))
        assert link.get_packet()[0] == "InputStringPacket"
        yield
        link.put("TextPacket", "Ada")
        assert link.get_packet() == ("ReturnPacket", "Ada")


@scenario
def a_dialog(server, folder):
    with join(server) as link:
        link.put("EvaluatePacket", Function("Dialog"))
        while link.get_packet()[0] != "InputNamePacket":
            pass
        yield
        link.put("EnterExpressionPacket", Function("Return", 7))
        packets = [link.get_packet()]
        while packets[-1][0] != "ReturnPacket":
            packets.append(link.get_packet())
        assert packets[-1] == ("ReturnPacket", 7)
        assert link.evaluate(1) == 1


@scenario
def settings_of_a_bridge(server, folder):
    with join(server) as link, join(server) as other:
        kernel = kernel_id(link)
        assert enter(link, "SetKeepAlive", Symbol("False")) == SUCCESS
        yield
        assert enter(link, "DisconnectKernel") == SUCCESS
        wait_for(lambda: kernel not in kernels(other, "a"), 60.0, "the kernel to be closed")


@scenario
def a_reserved_kernel(server, folder):
    with join(server) as link:
        kernel, process = kernel_id(link), kernel_process(link)
        assert enter(link, "SetReserveKernel", Symbol("True")) == SUCCESS
        assert enter(link, "DisconnectKernel") == SUCCESS
        yield
        assert kernels(link, "a")[kernel]["State"] == "reserved"
        reconnect(link, kernel)
        assert kernel_process(link) == process


@scenario
def missed_output(server, folder):
    gate = Gate(folder, "missed")
    with join(server) as link:
        kernel = kernel_id(link)
        assert enter(link, "SetReserveKernel", Symbol("True")) == SUCCESS
        link.put("EvaluatePacket", Function("CompoundExpression", Function("Print", "before"), gate.busy()))
        assert link.get_packet() == ("TextPacket", "before\n")
        gate.wait_until_reached()
        link.put("WSCommandPacket", Function("DisconnectKernel"))
        assert link.get_packet() == ("ReturnPacket", SUCCESS)
        gate.open()
        wait_for(lambda: not kernels(link, "a")[kernel]["Busy"], 60.0, "the kernel to have answered")
        yield
        reconnect(link, kernel)
        dropped, packets = link.command("GetMissedOutput").args
        assert (dropped, list(packets.args)) == (0, [Function("ReturnPacket", gate.path)])


@scenario
def a_slow_reader_of_a_large_answer(server, folder):
    size = 6_000_000
    with join(server) as link:
        link.put("EvaluatePacket", Function("StringJoin", *["x" * 1_000_000] * 6))
        wait_until_written(server, link)
        yield
        head, text = link.get_packet()
        assert (head, len(text)) == ("ReturnPacket", size)
        assert link.evaluate(5) == 5


def wait_until_written(server, link):
    """Wait until the first bytes of an answer are there; most of it is not read yet."""
    link.data.recv(1, socket.MSG_PEEK)


@scenario
def half_a_small_packet(server, folder):
    beginning, end = evaluate_length(100)
    with join(server) as link:
        send_beginning(link.data, beginning + b"x" * 50)
        yield
        link.data.sendall(b"x" * 50 + end)
        assert link.get_packet() == ("ReturnPacket", 100)


@scenario
def half_a_message(server, folder):
    with join(server) as link:
        gate = compute(link, folder, "half")
        whole = ABORT.to_bytes(4, "big") + bytes(4)
        link.message.sendall(whole[:3])
        yield
        link.message.sendall(whole[3:])
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
        gate.close()


@scenario
def a_link_without_a_kernel(server, folder):
    with join(server) as link:
        assert enter(link, "DisconnectKernel") == SUCCESS
        yield
        assert link.command("GetKernelID") == '{"status":"ExecutionError"}'
        assert enter(link, "ConnectKernel", "a") == SUCCESS


@scenario
def a_command_that_waits_for_a_kernel(server, folder):
    with join(server) as owner, join(server) as link:
        kernel = kernel_id(owner)
        gate = compute(owner, folder, "command")
        link.put("WSCommandPacket", Function("ConnectKernel", kernel, 60))
        yield
        assert_takes_over(link, kernel, owner, gate)


@scenario
def a_command_whose_time_is_up(server, folder):
    with join(server) as owner, join(server) as link:
        own, kernel = kernel_id(link), kernel_id(owner)
        gate = compute(owner, folder, "late")
        link.put("WSCommandPacket", Function("ConnectKernel", kernel, 3))
        link.put("EvaluatePacket", 4)
        yield
        assert link.get_packet() == ("ReturnPacket", '{"status":"ExecutionError"}')
        assert link.get_packet() == ("ReturnPacket", 4)
        assert kernel_id(link) == own
        gate.open()
        assert owner.get_packet() == ("ReturnPacket", gate.path)


@scenario
def a_command_from_inside_a_kernel(server, folder):
    with join(server) as owner, join(server) as link:
        kernel = kernel_id(owner)
        gate = compute(owner, folder, "inside")
        link.put("EvaluatePacket", Function("Command", Function("ConnectKernel", kernel, 60)))
        server.wait_for_log(rf"waits up to .* for kernel {kernel}")
        yield
        assert_takes_over(link, kernel, owner, gate)


@scenario
def clients_in_the_line_of_a_full_pool(server, folder):
    with server.connect() as owner, server.connect() as first, server.connect() as second:
        for link in (owner, first, second):
            prompt(link)
        assert enter(owner, "ConnectKernel", "single") == SUCCESS
        kernel = kernel_id(owner)
        for link in (first, second):
            since = Since(server)  # the owner itself may have waited, for the kernel to be ready
            link.put("WSCommandPacket", Function("ConnectKernel", "single", 100))
            since.wait_for("for a kernel of pool single")
        yield
        assert enter(owner, "DisconnectKernel") == SUCCESS
        assert_gets(first, kernel)
        assert enter(first, "DisconnectKernel") == SUCCESS
        assert_gets(second, kernel)


@scenario
def a_kernel_that_dies_and_is_replaced(server, folder):
    with join(server) as link:
        assert enter(link, "SetAllowSilentKernelReplacement", Symbol("True")) == SUCCESS
        process = kernel_process(link)
        yield
        os.kill(process, signal.SIGKILL)
        assert "a new one takes its place" in message_of(link.get_packet())
        assert link.get_packet()[0] == "InputNamePacket"
        assert kernel_process(link) != process


@scenario
def what_a_client_left_unfinished_is_thrown_away(server, folder):
    beginning, _ = evaluate_length(200_000)
    with join(server) as link, join(server) as other:
        kernel = kernel_id(link)
        assert enter(link, "SetReserveKernel", Symbol("True")) == SUCCESS
        send_beginning(link.data, beginning + b"x" * 150_000)
        wait_until_busy(server, kernel)
        link.close()
        wait_for(lambda: not kernels(other, "a")[kernel]["Busy"], 60.0, "the kernel to have answered")
        yield
        reconnect(other, kernel)
        assert other.evaluate(9) == 9


@scenario
def a_kernel_outside_pools(server, folder):
    with join(server) as link:
        identifier = json.loads(link.command("StartKernel"))["result"]
        yield
        reconnect(link, identifier)
        assert kernel_id(link) == identifier


class Halves:
    """The two connections of a link, one step of its beginning after the other."""

    def __init__(self, server):
        self._port = server.port
        self.name = b"id=%s connection=" % str(uuid.uuid4()).upper().encode()

    def connect(self, data):
        """A connection on which these bytes are sent."""
        connected = joining.connect_to("127.0.0.1", self._port, 60.0)
        connected.sendall(data)
        return connected

    def data(self):
        return self.connect(self.name + b"data" + joining.WORDS)

    def message(self):
        return self.connect(self.name + b"mesg")


def assert_named(data):
    """The server has answered that it knows what the connection is."""
    assert joining.receive_exactly(data, len(joining.WORDS)) == joining.WORDS


def begun(data, message, version=6):
    """The link of two connections that have said what they are; its greeting follows, and its first prompt."""
    peer_version, framer = joining.greet(data, version)
    link = RawLink(data, message, framer, 60.0, min(version, peer_version))
    prompt(link)
    return link


@scenario
def a_connection_that_has_not_said_what_it_is(server, folder):
    halves = Halves(server)
    data, message = halves.connect(halves.name[:20]), halves.connect(b"")
    yield
    data.sendall(halves.name[20:] + b"data" + joining.WORDS)
    message.sendall(halves.name + b"mesg")
    assert_named(data)
    with begun(data, message) as link:
        assert link.evaluate(6) == 6


@scenario
def a_data_connection_whose_other_half_is_missing(server, folder):
    halves = Halves(server)
    data = halves.data()
    assert_named(data)
    yield
    with begun(data, halves.message()) as link:
        assert link.evaluate(6) == 6


@scenario
def a_message_connection_whose_other_half_is_missing(server, folder):
    halves = Halves(server)
    message = halves.message()
    yield
    data = halves.data()
    assert_named(data)
    with begun(data, message) as link:
        assert link.evaluate(6) == 6


@scenario
def half_a_greeting(server, folder):
    data, message = joining.connect_uuid("127.0.0.1", server.port, str(uuid.uuid4()).upper(), 60.0)
    data.sendall(b"Math Link 6\n")
    assert data.recv(1, socket.MSG_PEEK)
    yield
    with RawLink(data, message, timeout=60.0) as link:
        received = b""
        data.sendall(b"".join(line for _, line in joining.LINES))
        while received.count(b"\n") < 1 + len(joining.LINES):
            received += joining.receive(data)
        assert received.startswith(b"Math Link 6\n")
        link.framer.feed(received.split(b"\n", 1 + len(joining.LINES))[-1])
        prompt(link)
        assert link.evaluate(6) == 6


@scenario
def a_classic_client_that_knows_its_port(server, folder):
    data = joining.connect_to("127.0.0.1", server.port, 60.0)
    data.sendall(b"need_msg_portY")
    answer = b""
    while not answer.endswith(b"Y"):
        answer += joining.receive(data, 1)
    yield
    message = joining.connect_to("127.0.0.1", int(answer[len(b"msg_port=") : -1]), 60.0)
    with begun(data, message, 4) as link:
        assert link.evaluate(6) == 6


@scenario
def a_classic_client_with_both_connections(server, folder):
    data, message = joining.connect_classic(("127.0.0.1", server.port))
    for one in (data, message):
        one.settimeout(60)
    yield
    with begun(data, message, 4) as link:
        assert link.evaluate(6) == 6


@scenario
def a_link_of_version_4(server, folder):
    with server.connect(version=4) as link:
        prompt(link)
        yield
        assert link.evaluate("é") == "é"


@pytest.fixture(scope="module")
def restarted(tmp_path_factory):
    """The server, and what has been under way during its restart. It must stop as one that was not restarted does."""
    folder = tmp_path_factory.mktemp("restarted")
    kernel = make_kernel(folder)
    keys = {"MinimumKernelNumber": 0, "MaximumKernelNumber": 60, "ReservePreviouslyConnectedKernels": False}
    single = pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=1, ReservePreviouslyConnectedKernels=False)
    configuration = {"GreetingTimeout": 300, "Pools": {"a": pool(kernel, **keys), "single": single}}
    with serving(folder, configuration) as server:
        running = {name: function(server, folder) for name, function in SCENARIOS.items()}
        for one in running.values():
            next(one)
        restart(server)
        yield server, running
        for one in running.values():
            one.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_goes_on(restarted, name):
    _, running = restarted
    assert next(running[name], "ended") == "ended"


# Programs that cannot start, and a configuration that has changed


@pytest.fixture(scope="module")
def changing(tmp_path_factory):
    """A server whose configuration and code tests change, and the file of the configuration."""
    folder = tmp_path_factory.mktemp("changing")
    shutil.copytree(ROOT / "wstpserver", folder / "code" / "wstpserver")
    keys = {"RestartTimeout": 0.5, "KernelsOutliveServer": 0}
    reserve = {"ReservePreviouslyConnectedKernels": False}
    configuration = one_pool(make_kernel(folder), 1, keys, MaximumKernelNumber=8, **reserve)
    with serving(folder, configuration, root=folder / "code") as server:
        ready_kernels(server, 1)
        yield server, folder / f"{server.mark}.conf"


def configure(path, change):
    """Write the configuration with a change; returns the text that it had."""
    text = path.read_text(encoding="utf-8")
    settings = json.loads(text)
    change(settings)
    path.write_text(json.dumps(settings), encoding="utf-8")
    return text


def test_a_configuration_that_is_not_valid_changes_nothing(changing):
    server, path = changing
    text = configure(path, lambda settings: settings.update(KernelWaitTimeout="soon"))
    with join(server) as link, server.connect() as administrator:
        prompt(administrator)
        kernel = kernel_id(link)
        told = json.loads(administrator.command("RestartServer"))
        assert told["status"] == "ExecutionError"
        assert "KernelWaitTimeout" in told["reason"] and "a number from" in told["reason"]
        server.wait_for_log("The server was not restarted and goes on as before: the configuration cannot be used")
        assert kernel_id(link) == kernel
        assert link.evaluate(2) == 2
        path.write_text(text, encoding="utf-8")
        assert administrator.command("RestartServer") == SUCCESS
        assert kernel_id(link) == kernel


@contextlib.contextmanager
def changed(path, change):
    """A file of the program that has another text meanwhile."""
    text = path.read_text(encoding="utf-8")
    path.write_text(change(text), encoding="utf-8")
    yield
    path.write_text(text, encoding="utf-8")


def test_code_that_cannot_be_imported_changes_nothing(changing):
    """The reason is one line, without the traceback."""
    server, _ = changing
    broken = server.root / "wstpserver" / "server" / "app.py"
    with join(server) as link, server.connect() as administrator:
        prompt(administrator)
        kernel, since = kernel_id(link), Since(server)
        with changed(broken, lambda text: text + "import wstpserver.no_such_module\n"):
            reason = json.loads(administrator.command("RestartServer"))["reason"]
        line = len(broken.read_text(encoding="utf-8").splitlines()) + 1
        assert reason == (f"ModuleNotFoundError: No module named 'wstpserver.no_such_module' ({broken}, line {line})")
        since.wait_for(re.escape(f"The server was not restarted and goes on as before: {reason}"))
        assert kernel_id(link) == kernel
        assert link.evaluate(2) == 2


def test_the_new_version_of_the_program_is_in_force(changing):
    """In the same process, with the same kernels."""
    server, _ = changing
    pid, version = server.pid, server.root / "wstpserver" / "version.py"
    with join(server) as link:
        kernel, process = kernel_id(link), kernel_process(link)
        with changed(version, lambda text: re.sub('"[0-9].*"', '"999.1.0"', text)):
            since = restart(server)
        since.wait_for(f"WSTPServer 999.1.0 runs as process {pid}\n")
        assert (kernel_id(link), kernel_process(link)) == (kernel, process)
    assert server.process.poll() is None


def test_a_port_that_is_taken_by_another_program_is_found_beforehand():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = make_settings(pools=[{"name": "P", "KernelPath": "/k"}], Port=port, Interface="127.0.0.1")
        assert "the port is in use" in can_start(check_words(0, "127.0.0.1"), settings)
        assert can_start(check_words(port, "127.0.0.1"), settings) == "", "it is the one of the server that asks"


def test_a_program_of_an_earlier_version_is_not_executed():
    settings = make_settings(pools=[{"name": "P", "KernelPath": "/k"}])
    assert "only formats up to" in can_start("check 999 31415 ", settings)
    assert can_start("check", settings)


def test_the_new_configuration_is_in_force(changing):
    server, path = changing

    def change(settings):
        settings["Pools"]["second"] = {**settings["Pools"].pop("a"), "MinimumKernelNumber": 2}

    with join(server) as link:
        kernel = kernel_id(link)
        text = configure(path, change)
        since = restart(server)
        since.wait_for("Pool second is ready with 2 kernels")
        assert kernel_id(link) == kernel
        assert json.loads(link.command("GetPoolName"))["result"] == "a", "the pool lasts as long as its kernels"
        with join(server) as other:
            assert json.loads(other.command("GetPoolName"))["result"] == "second"
        path.write_text(text, encoding="utf-8")
        since = Since(server)
        os.kill(server.pid, signal.SIGHUP)
        since.wait_for("The configuration was reloaded")
        assert kernel_id(link) == kernel


# Whoever is in the middle of a packet for too long


def test_whoever_is_in_the_middle_of_a_packet_is_closed_and_its_client_told(changing, tmp_path):
    """A client that sends one, and a kernel that does; nobody else notices."""
    server, _ = changing
    gate = Gate(tmp_path)
    beginning, _ = evaluate_length(1_000_000)
    with join(server) as sends, join(server) as receives, join(server) as other:
        kernel = kernel_id(sends)
        send_beginning(sends.data, beginning + b"x" * 300_000)
        wait_until_busy(server, kernel)
        receives.put("EvaluatePacket", Function("HalfFrame", gate.path, 100_000))
        gate.wait_until_reached()
        restart(server)
        sends.data.sendall(b"x" * 100_000)  # must not make the link be reset before it is read
        assert "the server restarts, and the packet under way was not complete" in message_of(sends.get_packet())
        assert sends.at_end()
        assert receives.get_packet()[0] == "TextPacket", "the packet under way, completed"
        assert "the server restarts in the middle of what it writes" in message_of(receives.get_packet())
        assert receives.at_end()
        assert other.evaluate(3) == 3
    gate.close()


# A program that cannot be executed after all, and a server that is stopped meanwhile

#: Python executes this at its start: what the system says instead of executing a program, and a program that does not
#: say whether it could start.
SITE = """
import os
execute, process = os.execve, os.getpid()
def refuse(*arguments):
    if os.getpid() == process:  # not a child that was just forked
        raise OSError(12, "Cannot allocate memory")
    execute(*arguments)
os.execve = refuse
if os.environ.get("WSTPSERVER_HANDOVER", "").startswith("check ") and "TRIAL" in os.environ:
    open(os.environ["TRIAL"]).read()
"""


@pytest.fixture
def site(tmp_path):
    """An environment in which programs in Python are such."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def test_a_server_whose_program_cannot_be_executed_goes_on(tmp_path, site):
    configuration = one_pool(make_kernel(tmp_path), 0, MaximumKernelNumber=8)
    with serving(tmp_path, configuration, environment=site) as server:
        with join(server) as busy, join(server) as slow, join(server) as waiting, server.connect() as administrator:
            prompt(administrator)
            gate = compute(busy, tmp_path, "busy")
            slow.put("EvaluatePacket", Function("StringJoin", *["x" * 1_000_000] * 6))
            wait_until_written(server, slow)
            waiting.put("WSCommandPacket", Function("ConnectKernel", kernel_id_of(server, 1), 60))
            told = json.loads(administrator.command("RestartServer"))
            assert told["reason"] == "the program cannot be executed: Cannot allocate memory"
            assert len(slow.get_packet()[1]) == 6_000_000
            assert slow.evaluate(1) == 1
            gate.open()
            assert busy.get_packet() == ("ReturnPacket", gate.path)
            assert waiting.get_packet() == ("ReturnPacket", SUCCESS)
            assert prompt(waiting)[0] == "InputNamePacket"
            assert waiting.evaluate(2) == 2
        assert_serves(server)


def kernel_id_of(server, client):
    """The ID of the kernel that this client of a server was bridged to."""
    return server.wait_for_log(rf"Client {client} \(.*\) is bridged to kernel (\S+)")[1]


def test_a_server_that_is_stopped_while_it_restarts_stops(tmp_path, site):
    trial = Gate(tmp_path, "trial")
    environment = {**site, "TRIAL": trial.path}
    with serving(tmp_path, one_pool(make_kernel(tmp_path)), environment=environment) as server:
        ready_kernels(server, 1)
        os.kill(server.pid, signal.SIGUSR2)
        trial.wait_until_reached()
        assert server.stop() == 0
        assert "was not restarted" not in server.log or "it is being stopped" in server.log
    trial.close()
