"""When a session takes its kernel, what becomes of it when the program ends, and losing it to another client."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.support.cases import for_all
from tests.support.packets import return_text_packet
from tools.harness.waiting import wait_for
from wstpserver.client import (
    Callbacks,
    CommandError,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    Session,
    connect,
)
from wstpserver.client.commands import server_information
from wstpserver.wire.packets import packet, return_packet, text_packet
from wstpserver.wire.values import Function, Symbol

from .helpers import NO_ANSWER, PROMPT, Kernel, Worker, dies, peer, session_with

SUCCESS = '{"status":"ExecutionSuccess"}'
TAKEN = text_packet("WSTPServer: another client connected to this kernel by its ID\n")
REPLACED = text_packet("WSTPServer: the kernel died; a new one takes its place, without its definitions\n")
ABORTED = return_packet(Symbol("$Aborted"))


@pytest.fixture
def administrator(running):
    """A session that takes no kernel."""
    with Session(f"{running.port}@127.0.0.1", PROMPT) as session:
        yield session


def states(administrator):
    """How many kernels of the pool Main are in each state."""
    return server_information(administrator).pools["Main"].states


# Taking a kernel


def test_a_session_takes_a_kernel_when_it_needs_one(running, administrator):
    with Session(f"{running.port}@127.0.0.1", PROMPT) as session:
        session.command("GetServerInformation")
        session.command("SetKeepAlive", Symbol("False"))
        assert states(administrator)["bridged"] == 0
        assert session.evaluate("1 + 1", PROMPT) == 2
        assert states(administrator)["bridged"] == 1
    wait_for(lambda: states(administrator)["bridged"] + states(administrator)["reserved"] == 0, PROMPT)


@pytest.mark.parametrize("command", ["GetKernelID", "GetPoolName", "GetKernelBusyStatus"])
def test_a_command_about_the_kernel_works_at_once(running, command):
    with Session(f"{running.port}@127.0.0.1", PROMPT) as session:
        assert session.command(command, timeout=PROMPT)


def test_a_pool_is_named_before_any_kernel_is_taken(running, administrator):
    seen = []
    with Session(f"wstp://127.0.0.1:{running.port}/Main", PROMPT) as session:
        seen.append(states(administrator)["bridged"])
        assert session.evaluate("2 + 2", PROMPT) == 4
        seen.append(states(administrator)["bridged"])
    assert seen == [1, 1]


def test_a_pool_that_does_not_exist(running):
    with pytest.raises(CommandError, match="there is no pool Nowhere; the pools of this server: Main"):
        Session(f"wstp://127.0.0.1:{running.port}/Nowhere", 3)


def test_what_is_waited_for_is_said(running, administrator):
    heard = []
    callbacks = Callbacks(on_notice=heard.append)
    with Session(f"{running.port}@127.0.0.1", PROMPT, callbacks=callbacks) as session:
        others = [Session(f"{running.port}@127.0.0.1", PROMPT) for _ in range(3)]
        try:
            for other in others:
                other.synchronize(PROMPT)
            with pytest.raises(EvaluationTimeout, match="no kernel within 2.5 s: waiting for a kernel") as caught:
                session.evaluate("1", 2.5)
        finally:
            for other in others:
                other.close()
        assert "told to abort" not in str(caught.value), "there was no kernel"
        assert any("pool Main has 3 of at most 3 kernels" in text or "3 bridged" in text for text in heard), heard
        assert session.evaluate("1", PROMPT) == 1, "the next call waits again"


def test_what_is_waited_for_is_logged_where_nobody_hears_it(caplog):
    started = threading.Event()

    def script(link):
        assert started.wait(PROMPT)
        Kernel()(link)

    with session_with(script) as session:
        worker = Worker(session.evaluate, 1, PROMPT)
        wait_for(lambda: "waiting for a kernel of" in caplog.text, PROMPT)
        started.set()
        assert worker.finish() == 1


def test_an_abort_while_a_kernel_is_waited_for():
    started = threading.Event()

    def script(link):
        assert started.wait(PROMPT)
        Kernel()(link)

    with session_with(script) as session:
        worker = Worker(session.evaluate, 1, PROMPT)
        wait_for(lambda: session.abort(0.1), PROMPT)
        with pytest.raises(Exception, match="abort"):
            worker.finish()
        started.set()
        assert session.evaluate(2, PROMPT) == 2


# The end of the program

LEAVES_OPEN = """
import os, signal, sys
from wstpserver.client import Session
# one that reconnects has its kernel kept until `close`, which is called when the interpreter exits
session = Session(sys.argv[1], reconnect=sys.argv[2] == "0")
session.evaluate("1 + 1")
print("evaluated", flush=True)
if sys.argv[2] != "0":
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("end", [0, signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_ends_without_close_leaves_no_kernel(running, administrator, end):
    program = subprocess.run(
        [sys.executable, "-c", LEAVES_OPEN, f"{running.port}@127.0.0.1", str(int(end))],
        cwd=os.getcwd(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert program.stdout == "evaluated\n", program.stderr
    assert program.returncode == -end
    wait_for(lambda: states(administrator)["bridged"] + states(administrator)["reserved"] == 0, PROMPT)


def test_a_kept_kernel_stays(running, administrator):
    with Session(f"{running.port}@127.0.0.1", PROMPT, keep_kernel=True) as session:
        kernel = session.command("GetKernelID", timeout=PROMPT)
    wait_for(lambda: states(administrator)["bridged"] == 0, PROMPT)
    assert kernel in [kernel.id for kernel in server_information(administrator).kernels]
    administrator.command("CloseKernel", kernel)


def test_a_kernel_can_be_kept_at_the_end(running, administrator):
    with Session(f"{running.port}@127.0.0.1", PROMPT) as session:
        kernel = session.command("GetKernelID", timeout=PROMPT)
        session.keep_kernel = True
    wait_for(lambda: states(administrator)["bridged"] == 0, PROMPT)
    assert kernel in [kernel.id for kernel in server_information(administrator).kernels]
    administrator.command("CloseKernel", kernel)


def test_what_the_program_says_of_its_kernel_counts():
    kernel = Kernel()
    with session_with(kernel) as session:
        session.synchronize(PROMPT)
        session.send_command("SetKeepAlive", Symbol("False"))
        session.keep_kernel = True
    assert {command.args for command in kernel.commands} == {(Symbol("False"),)}


def test_the_end_of_the_other_side_is_called_that():
    with session_with(Kernel({"die": dies})) as session:
        for _ in range(3):
            with pytest.raises(LinkClosed, match="closed the link"):
                session.evaluate("die", PROMPT)


# Another client takes the kernel


def test_a_kernel_that_another_client_took(running):
    address = f"{running.port}@127.0.0.1"
    with Session(address, PROMPT, keep_kernel=True) as session, Session(address, PROMPT) as taker:
        session.evaluate("x = 5", PROMPT)
        taker.command("ConnectKernel", session.command("GetKernelID"))
        try:
            assert taker.evaluate("x", PROMPT) == 5
            for _ in range(2):
                with pytest.raises(KernelLost, match="another client connected to this kernel"):
                    session.evaluate("x", PROMPT)
            assert "without a kernel" in repr(session)
            session.command("ConnectKernel", "Main", 10, timeout=PROMPT)
            assert session.evaluate("x", PROMPT) == Symbol("x"), "another one, asked for"
            session.command("SetKeepAlive", Symbol("False"))
        finally:
            taker.keep_kernel = False


def test_a_session_that_reconnects_does_not_go_on_elsewhere(running):
    address = f"{running.port}@127.0.0.1"
    with Session(address, PROMPT, reconnect=True) as session, Session(address, PROMPT) as taker:
        session.evaluate("x = 5", PROMPT)
        taker.command("ConnectKernel", session.kernel_id)
        try:
            assert taker.evaluate("x", PROMPT) == 5
            with pytest.raises(KernelLost, match="another client connected to this kernel"):
                session.evaluate("x", PROMPT)
            assert taker.evaluate("x", PROMPT) == 5, "it was not taken back"
        finally:
            taker.keep_kernel = False


def ends_with(*packets, closes=False):
    """A rule: the server ends the evaluation with these packets, and perhaps the link."""

    def rule(kernel):
        for one in packets:
            kernel.link.put(one)
        if closes:
            dies(kernel)
        return NO_ANSWER

    return rule


@for_all(
    "rule",
    [
        ends_with(ABORTED, TAKEN),
        ends_with(TAKEN, closes=True),
        ends_with(text_packet("text\n"), TAKEN, closes=True),
    ],
    ids=["the link stays", "the link ends", "output before it"],
)
def test_a_kernel_taken_in_the_middle_of_an_evaluation(rule):
    with session_with(Kernel({"go": rule}), Callbacks.quiet()) as session:
        for _ in range(2):
            with pytest.raises(KernelLost, match="another client"):
                session.evaluate("go", PROMPT)


def test_a_kernel_taken_in_the_middle_of_a_line():
    kernel = Kernel()
    line = (packet("OutputNamePacket", "Out[1]= "), return_text_packet("$Aborted"), TAKEN)
    kernel.rules["go"] = ends_with(*line)
    with session_with(kernel, Callbacks.quiet()) as session, pytest.raises(KernelLost, match="another client"):
        session.evaluate_text("go", PROMPT)


def test_nothing_is_sent_to_another_kernel():
    """Not even the abort of what ran: it would wait for the next kernel."""
    kernel = Kernel({"go": ends_with(ABORTED, TAKEN), "ConnectKernel": SUCCESS})
    with session_with(kernel, Callbacks.quiet()) as session:
        with pytest.raises(KernelLost):
            session.evaluate("go", PROMPT)
        sent = len(kernel.seen)
        for call in (session.evaluate, session.evaluate_text, session.synchronize, session.enter_expression):
            with pytest.raises(KernelLost):
                call(1)
        with pytest.raises(KernelLost):
            list(session.evaluate_many("a"))
        assert len(kernel.seen) == sent
        session.command("ConnectKernel", "Main")
        assert session.evaluate(7, PROMPT) == 7
    assert kernel.aborts == kernel.idle_aborts == 0


def test_a_kernel_that_was_replaced_in_the_middle_of_an_evaluation():
    def dies_and_is_replaced(kernel):
        for one in (ABORTED, REPLACED):
            kernel.link.put(one)
        kernel.prompt()
        return NO_ANSWER

    with session_with(Kernel({"go": dies_and_is_replaced}), Callbacks.quiet()) as session:
        with pytest.raises(KernelLost, match="replaced"):
            session.evaluate("go", PROMPT)
        assert session.evaluate(7, PROMPT) == 7


def test_a_batch_whose_kernel_is_taken():
    kernel = Kernel({"go": ends_with(ABORTED, TAKEN)})
    with session_with(kernel, Callbacks.quiet()) as session:
        values = session.evaluate_many([1, "go", 3], PROMPT, window=1)
        assert next(values) == 1
        with pytest.raises(KernelLost):
            next(values)
    assert 3 not in [content for _, content in kernel.seen]


def test_an_evaluation_that_aborts_itself_is_no_loss():
    with session_with(Kernel({"Abort[]": Symbol("$Aborted")})) as session:
        for _ in range(2):
            assert session.evaluate("Abort[]", PROMPT) == Symbol("$Aborted")


def test_repr_names_the_server_and_the_kernel():
    with peer(Kernel({"GetKernelID": '{"result":"a806-2645-9651"}'})) as name:
        with Session(name, PROMPT) as session:
            assert repr(session) == f"<Session {name}, kernel ID not asked for>"
            session.command("GetKernelID")
            assert repr(session) == f"<Session {name}, kernel a806-2645-9651>"
        assert repr(session) == f"<Session {name}, kernel a806-2645-9651, closed>"


def test_functions_are_completed():
    names = Function(Symbol("Names"), ("System`*",))
    with session_with(Kernel({names: Function(Symbol("List"), ("Plus", "$Context", "StringJoin"))})) as session:
        listed = dir(session)
        assert {"Plus", "StringJoin", "evaluate"} <= set(listed)
        assert "$Context" not in listed
        assert "Plus" in dir(session)


def test_completion_of_a_session_that_has_ended():
    with session_with(Kernel({"die": dies})) as session:
        with pytest.raises(LinkClosed):
            session.evaluate("die", PROMPT)
        assert "evaluate" in dir(session)


def test_connecting_without_a_kernel_costs_none(running, administrator):
    with connect(f"{running.port}@127.0.0.1", PROMPT, without_kernel=True):
        assert states(administrator)["bridged"] == 0
