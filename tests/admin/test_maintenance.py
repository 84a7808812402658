"""drain, pause, resume, clients, kick and top, against a server with light kernels."""

from __future__ import annotations

import json
import re

import pytest

from tests.admin.helpers import command, run, start
from tests.support.serving import Gate, join, kernel_id, message_of, prompt, serving
from tests.support.terminal import TerminalProgram
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import pool
from tools.harness.waiting import wait_for
from wstpserver.cli.admin.clients import SORTS, Sample, administer, rows_of, view
from wstpserver.cli.admin.main import main
from wstpserver.cli.terminal import ProgramError
from wstpserver.client import Session, connect
from wstpserver.client.commands import read_information

PROMPT = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maintenance")
    keys = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}
    kernel = make_kernel(folder)
    with serving(folder, {"Pools": {"Main": pool(kernel, **keys), "Other": pool(kernel, **keys)}}) as process:
        process.address = f"{process.port}@127.0.0.1"
        for name in ("Main", "Other"):
            process.wait_for_log(f"Pool {name} is ready")
        yield process


@pytest.fixture
def client(server):
    try:
        with join(server) as link:
            yield link
    finally:
        assert run("-s", server.address, "resume")[0] == 0


def admin(server, *words):
    """(exit code, stdout, stderr) of the program in this process, which is quicker."""
    return main(["-s", server.address, *words])


def test_drain_waits_for_those_who_are_there_and_says_who(server, client, capfd):
    with start("-s", server.address, "drain") as draining:
        line = draining.stderr.readline()
        assert re.fullmatch(r"wstpserver-admin: 1 client is left: \d+ \(127\.0\.0\.1:\d+, idle\)\n", line)
        with server.connect() as late:
            assert "is being drained" in message_of(late.get_packet())
        assert draining.poll() is None
        assert client.evaluate(call("Plus", 2, 2)) == 4
        client.close()
        assert draining.wait(PROMPT) == 0
        assert draining.stdout.read().startswith("the server is drained: no client has a kernel; wstpserver-admin")
    assert admin(server, "drain", "--pool", "Main", "--json") == 0
    assert json.loads(capfd.readouterr().out) == []


def test_drain_gives_up_after_its_time(server, client, capfd):
    assert admin(server, "drain", "-p", "Main", "-t", "0.3") == 75
    out, err = capfd.readouterr()
    assert out == "" and re.search(r"not drained within 0\.3 s: 1 client is left: \d+ \(127\.0\.0\.1:\d+, idle\)$", err)
    assert admin(server, "drain", "--timeout", "0.1", "--json") == 75
    (left,) = json.loads(capfd.readouterr().out)
    assert left["Kernel"] == kernel_id(client)
    assert admin(server, "drain", "--pool", "Other") == 0  # nobody is there
    assert admin(server, "drain", "--pool", "Nowhere") == 1
    assert capfd.readouterr().err == "wstpserver-admin: there is no pool Nowhere; the pools are: Main, Other\n"


def test_a_drain_closes_idle_links_and_lets_the_others_finish(server, client, tmp_path):
    gate = Gate(tmp_path)
    with join(server) as busy:
        busy.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        with start("-s", server.address, "drain", "--kick-idle", "0.1") as draining:
            assert "the administrator closed" in message_of(client.get_packet())
            assert draining.poll() is None
            gate.open()
            assert busy.get_packet() == ("ReturnPacket", gate.path)
            assert "the administrator closed" in message_of(busy.get_packet())
            assert draining.wait(PROMPT) == 0


def test_a_drain_ends_by_force_if_it_is_to(server, client, tmp_path, capfd):
    gate = Gate(tmp_path)
    client.put("EvaluatePacket", gate.busy())
    gate.wait_until_reached()
    assert admin(server, "drain", "-t", "0.2", "--kick", "--kick-idle", "0.1") == 0
    out, err = capfd.readouterr()
    assert out.startswith("the server is drained")
    left = r"closed the links of those who were left: 1 client is left: \d+ \(127\.0\.0\.1:\d+, evaluating\)$"
    assert re.search(left, err)
    gate.open()
    assert "the administrator closed" in message_of(client.get_packet())


def test_a_drain_that_somebody_ends(server, client):
    with start("-s", server.address, "drain", "-p", "Main") as draining:
        assert "1 client is left" in draining.stderr.readline()
        assert run("-s", server.address, "resume", "-p", "Main")[0] == 0
        assert draining.wait(PROMPT) == 1
        assert draining.stderr.read() == "wstpserver-admin: pool Main is not drained any more: it is open again\n"


def test_pause_and_resume(server, client, capfd):
    assert admin(server, "pause", "--pool", "Main") == 0
    assert capfd.readouterr().out == "pool Main is paused: clients wait for kernels until resume\n"
    with server.connect() as link:
        assert admin(server, "status") == 0
        assert "Main: No client gets a kernel: pool Main is paused" in capfd.readouterr().out
        assert admin(server, "resume", "--json") == 0
        assert json.loads(capfd.readouterr().out) == {
            "Admission": "open", "Pools": {"Main": "open", "Other": "open"},
        }  # fmt: skip
        assert prompt(link)[0] == "InputNamePacket"


def test_clients_and_kick(server, client, capfd):
    kernel = kernel_id(client)
    assert admin(server, "clients") == 0
    titles, *rows = capfd.readouterr().out.splitlines()
    assert titles.split() == ["CLIENT", "ADDRESS", "STATE", "POOL", "KERNEL", "EVALS", "QUEUED", "IDLE", "CONNECTED"]
    (row,) = [row.split() for row in rows if kernel in row]
    assert row[2:5] == ["idle", "Main", kernel]
    assert admin(server, "clients", "--json", "-p", "Main") == 0
    (told,) = json.loads(capfd.readouterr().out)
    assert (told["ID"], told["Kernel"]) == (row[0], kernel)
    assert admin(server, "kick", row[0], "999999") == 1
    out, err = capfd.readouterr()
    assert out == f"closed the link of client {row[0]} ({row[1]}, idle)\n"
    assert err == "wstpserver-admin: there is no client 999999; wstpserver-admin clients shows those that are\n"
    assert "the administrator closed" in message_of(client.get_packet())
    assert client.at_end()


def test_top_once(server, client, capfd):
    assert admin(server, "top", "--once", "--sort", "k") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("wstpserver 0") and server.address in lines[0]
    assert re.match(r"4 kernels: 1 in use, 0 busy; 2 clients, 0 waiting; 0\.0 evaluations/s; .* MB of memory", lines[1])
    table = [line.split() for line in lines if line[4:5] == "-"]
    assert [row[0] for row in table] == sorted(row[0] for row in table) and len(table) == 4
    assert admin(server, "top", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert {one["ID"] for one in told["Kernels"]} == {row[0] for row in table}
    assert [one["Kernel"] for one in told["Clients"] if one["Kernel"]] == [kernel_id(client)]


def test_top_on_a_terminal(server, client, tmp_path):
    words = command("-s", server.address, "top", "-i", "0.3")
    with TerminalProgram(words, tmp_path, {"TERM": "xterm"}, size=(24, 100)) as terminal:
        terminal.expect(f"at {server.address}, up ", PROMPT)
        terminal.expect("EVAL/S", PROMPT)
        terminal.expect("q quit", PROMPT)
        client.put("EvaluatePacket", call("Sleep", 600))
        terminal.expect("1 in use, 1 busy", PROMPT)
        for key, (title, *_) in SORTS.items():
            terminal.keys(key)
            terminal.expect_raw(f"\x1b[7m{title}\x1b[0m", PROMPT)
        kernels = sorted(set(re.findall("^([0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}) ", terminal.output, re.MULTILINE)))
        terminal.keys("kr")  # both, whether they come with one read or with two
        terminal.expect(re.compile("[^\n]*\n".join(reversed(kernels))), PROMPT)
        terminal.keys("\x1bOQ\x1b[5~")  # F2 and page up are no Q
        terminal.keys(" q")
        assert terminal.wait(PROMPT) == 0
    assert "\x1b[?1049h" in terminal.raw and terminal.raw.endswith("\x1b[?25h\x1b[?1049l")
    assert "Traceback" not in terminal.output


def test_top_needs_a_terminal(server, capfd):
    assert run("-s", server.address, "top") == (
        64, "", "wstpserver-admin: top needs a terminal; top --once prints the same once\n",
    )  # fmt: skip


# What top shows, without a server


def sample(when, *kernels, **more):
    pools = {"Main": {"Kernels": list(kernels), "Admission": "draining"}}
    about = {"Pools": pools, "ServerVersion": "1.0", **more}
    return Sample(when, about, read_information(about).kernels)


def kernel(identifier, evaluations, **keys):
    return {"ID": identifier, "State": "bridged", "Evaluations": evaluations, "Client": "Client 3 (1.2.3.4:5)", **keys}


def test_rates_are_what_changed_between_two_samples():
    before = sample(10.0, kernel("a", 5), kernel("b", 0))
    before.processor = {"a": 1.0}
    now = sample(12.0, kernel("a", 9), kernel("c", 7))
    now.processor = {"a": 2.0, "c": 1.0}
    assert [(row.kernel.id, row.rate, row.processor) for row in rows_of(now, before)] == [
        ("a", 2.0, 0.5), ("c", None, None),
    ]  # fmt: skip
    assert [row.rate for row in rows_of(now, None)] == [None, None]


@pytest.mark.parametrize(
    ("sort", "order"),
    [("k", "abc"), ("b", "cba"), ("m", "bca"), ("p", "abc"), ("s", "abc"), ("e", "abc"), ("c", "abc")],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_order(sort, order, reverse):
    one = kernel("a", 1, Memory=10)
    two = kernel("b", 1, Busy=True, SecondsBusy=1.5, Memory=30_000_000)
    three = kernel("c", 1, Busy=True, SecondsBusy=100.0, Memory=20)
    lines = view(sample(1.0, one, two, three), None, "here", sort=sort, reverse=reverse)
    shown = "".join(line[0] for line in lines[lines.index("") + 2 :])
    ties = sort in "sec"  # equal in what is sorted by: in the order of the server, or by ID
    assert shown == order or (ties and reverse) or (reverse and shown == order[::-1])
    assert "Pool Main is being drained" in lines


def test_no_line_is_longer_than_the_terminal():
    for width in (30, 60, 200):
        for line in view(sample(1.0, kernel("a806-2645-9651", 1)), None, "31415@localhost", width=width):
            assert len(line) <= width


def test_a_client_that_is_not_the_administrator_sees_the_kernels():
    now = sample(1.0, kernel("a", 1))
    now.refused = "GetClientInformation is for the server's own user"
    assert "Clients are not shown: GetClientInformation is for the server's own user" in view(now, None, "here")


def test_a_server_that_does_not_know_the_command(server):
    unknown = pytest.raises(ProgramError, match="this server does not know the command NoSuchCommand")
    with Session(connect(server.address, PROMPT, without_kernel=True)) as session, unknown:
        administer(session, "NoSuchCommand")


def test_nobody_is_left_in_the_end(server):
    wait_for(lambda: json.loads(run("-s", server.address, "clients", "-p", "Main", "-j")[1]) == [], PROMPT)
