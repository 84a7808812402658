"""Coming back to the kernel after the connection broke: at every step, and nothing is evaluated twice."""

import threading

import pytest

from tools.harness.waiting import wait_for
from wstpserver.client import (
    Callbacks,
    CommandError,
    EvaluationAborted,
    EvaluationLost,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    Session,
    connect,
)

from .helpers import PROMPT, Worker, takes


@pytest.fixture
def session(relay):
    with Session(relay.address, PROMPT, reconnect=True) as session:
        session.evaluate("n = 0")
        yield session


@pytest.fixture
def administrator(running):
    """A session that takes no kernel, and does not go through the relay."""
    with Session(connect(f"{running.port}@127.0.0.1", PROMPT, without_kernel=True), keep_kernel=True) as session:
        yield session


def kernels(administrator):
    """What the server says of its kernels, by their IDs."""
    pools = administrator.command("GetServerInformation")["Pools"]
    return {kernel["ID"]: kernel for kernel in pools["Main"]["Kernels"]}


def break_connections(relay, session, administrator):
    """Break the connections; return when the server has noticed that."""
    relay.stop_listening()
    relay.break_all()
    wait_for(lambda: kernels(administrator)[session.kernel_id]["State"] != "bridged", PROMPT)


def test_between_two_evaluations(relay, session):
    """Without the caller's noticing."""
    kernel = session.kernel_id
    for number in range(3):
        relay.break_all()
        assert session.evaluate("n", PROMPT) == number
        assert session.evaluate("n = n + 1", PROMPT) == number + 1
        relay.break_all()
        assert list(session.evaluate_many(["n", 5], PROMPT)) == [number + 1, 5]
        relay.break_all()
        assert session.evaluate_text("n", PROMPT).text == str(number + 1)
    assert session.kernel_id == kernel == session.command("GetKernelID")


QUESTION = "n = n + 1"


def sizes(relay, session):
    """Bytes of that question and of its answer on the wire."""
    relay.cut("server", 1 << 30)
    assert session.evaluate(QUESTION) == 1
    wait_for(lambda: relay.passed["client"], PROMPT)
    found = dict(relay.passed)
    session.evaluate("n = 0")
    return found


@pytest.mark.parametrize("toward", ["server", "client"])
def test_at_every_step_of_an_evaluation(relay, session, toward):
    """A question cut short is not evaluated; one that arrived is, once; a lost answer is reported as such."""
    done = 0
    for count in range(1, sizes(relay, session)[toward] + 1, 4):
        relay.cut(toward, count)
        try:
            value = session.evaluate(QUESTION, PROMPT)
        except EvaluationLost as error:
            assert "the answer is lost" in str(error)
            assert relay.broken.is_set()
            value = None
        after = session.evaluate("n", PROMPT)
        assert after in (done, done + 1), "never twice"
        if value is not None:
            assert value == after == done + 1
        elif toward == "client":
            assert after == done + 1, "it was on its way back"
        done = after


def test_the_whole_question_has_arrived(relay, session, administrator, gate):
    """The kernel is at work while the connection breaks; its answer is waited for, with what it printed."""
    printed = []
    worker = Worker(
        lambda: session.evaluate(
            f'n = 7; {gate.text}; Print["done"]; n', PROMPT, callbacks=Callbacks(on_print=printed.append)
        )
    )
    gate.wait_until_reached()
    break_connections(relay, session, administrator)
    relay.listen_again()
    gate.open()
    assert worker.finish() == 7
    assert printed == ["done\n"]


def test_an_answer_that_came_while_nobody_was_there(relay, session, administrator, gate):
    worker = Worker(session.evaluate, f"n = 8; {gate.text}; n", PROMPT)
    gate.wait_until_reached()
    break_connections(relay, session, administrator)
    gate.open()
    wait_for(lambda: administrator.command("GetKernelBusyStatus", session.kernel_id) == "False", PROMPT)
    relay.listen_again()
    assert worker.finish() == 8


def test_a_line_of_text(relay, session, administrator, gate):
    worker = Worker(session.evaluate_text, f"n = 9; {gate.text}; n", PROMPT)
    gate.wait_until_reached()
    break_connections(relay, session, administrator)
    relay.listen_again()
    gate.open()
    assert worker.finish().text == "9"
    assert session.evaluate_text("n", PROMPT).text == "9"


def test_input_is_asked_for_again(relay, session):
    """The kernel waits in Input[]: the question comes on the new connection."""
    asked = []

    def answer(prompt):
        asked.append(prompt)
        if len(asked) == 1:
            relay.break_all()
        return "41"

    value = session.evaluate('AskString["? "]', PROMPT, callbacks=Callbacks(on_input=answer))
    assert (value, asked) == ("41", ["? "] * 2)


def test_a_command(relay, session):
    relay.break_all()
    assert session.command("GetKernelID") == session.kernel_id
    relay.break_all()
    assert session.missed_output() == (0, ())


def test_a_batch_ends(relay, session):
    values = session.evaluate_many((f"n = {number}" for number in range(100)), PROMPT)
    assert next(values) == 0
    relay.break_all()
    with pytest.raises(EvaluationLost, match="during a batch"):
        list(values)
    assert isinstance(session.evaluate("n", PROMPT), int)


def test_a_timeout_while_the_kernel_is_at_work(relay, session, administrator, gate):
    def evaluate():
        with takes(1), pytest.raises(EvaluationTimeout):
            session.evaluate(gate.text, 1)

    worker = Worker(evaluate)
    gate.wait_until_reached()
    break_connections(relay, session, administrator)
    relay.listen_again()
    worker.finish()
    gate.open()
    assert session.evaluate("n", PROMPT) == 0


def test_an_abort_while_the_connection_is_down(relay, session, administrator, gate):
    worker = Worker(session.evaluate, gate.text, PROMPT)
    gate.wait_until_reached()
    break_connections(relay, session, administrator)
    while not session.abort():
        threading.Event().wait(0.001)
    with pytest.raises(EvaluationAborted):
        worker.finish()
    gate.open()
    relay.listen_again()
    assert session.evaluate("n", PROMPT) == 0


def test_no_way_back(relay):
    """Within the time that was given; later one can try again."""
    with Session(relay.address, PROMPT, reconnect=0.3) as session:
        session.evaluate("n = 3")
        relay.stop_listening()
        relay.break_all()
        for _ in range(2):
            with takes(0.3), pytest.raises(LinkClosed, match="reconnecting failed: the connection was refused"):
                session.evaluate("n", PROMPT)
        relay.listen_again()
        assert session.evaluate("n", PROMPT) == 3


def test_a_kernel_that_is_gone(session, administrator):
    kernel = session.kernel_id
    administrator.command("CloseKernel", kernel)
    with pytest.raises(KernelLost, match=f"the kernel {kernel} is gone"):
        session.evaluate("n", PROMPT)
    with pytest.raises(LinkClosed):
        session.evaluate("n", PROMPT)


def test_a_kernel_that_quits(session):
    with pytest.raises(KernelLost, match="is gone"):
        session.evaluate("Quit[]", PROMPT)


def test_another_kernel_after_a_command(relay, session):
    """The session goes with the kernel that it has."""
    first = session.kernel_id
    session.command("ConnectKernel", "Main")
    assert session.evaluate("n = 100", PROMPT) == 100
    assert session.kernel_id not in (None, first)
    relay.break_all()
    assert session.evaluate("n", PROMPT) == 100
    session.command("CloseKernel", first)


def test_a_kernel_that_was_replaced(relay, session):
    """The server has put another one in its place: that is the one to come back to from then on."""
    first = session.kernel_id
    session.command("SetAllowSilentKernelReplacement", True)
    with pytest.raises(KernelLost, match="a new one takes its place"):
        session.evaluate("Die[]", PROMPT)
    assert session.kernel_id is None
    assert session.evaluate("n = 9", PROMPT) == 9
    assert session.kernel_id not in (None, first)
    relay.break_all()
    assert session.evaluate("n", PROMPT) == 9


def test_closing_ends_the_kernel(relay, administrator):
    with Session(relay.address, PROMPT, reconnect=True) as session:
        kernel = session.kernel_id
        relay.break_all()
        assert session.evaluate(1, PROMPT) == 1
        assert kernel in kernels(administrator)
    wait_for(lambda: kernel not in kernels(administrator), PROMPT)


def test_closing_while_there_is_no_connection(relay, administrator):
    session = Session(relay.address, PROMPT, reconnect=True)
    kernel = session.kernel_id
    relay.stop_listening()
    relay.break_all()
    worker = Worker(session.evaluate, 1, PROMPT)
    wait_for(lambda: session.link.closed, PROMPT)
    session.close()
    with pytest.raises(LinkClosed, match="closed by this program"):
        worker.finish()
    administrator.command("CloseKernel", kernel)


# By hand


def test_reconnect_by_hand(relay):
    with Session(relay.address, PROMPT, keep_kernel=True) as session:
        session.evaluate("n = 5")
        with pytest.raises(CommandError, match="knows no address of a server, or not the kernel's ID"):
            session.reconnect()
        assert session.command("GetKernelID") == session.kernel_id
        relay.break_all()
        with pytest.raises(LinkClosed):
            session.evaluate("n", PROMPT)
        assert session.reconnect() == (0, ())
        assert session.evaluate("n", PROMPT) == 5


def test_reconnecting_says_what_was_missed(relay, administrator, gate):
    with Session(relay.address, PROMPT, keep_kernel=True) as session:
        session.synchronize(PROMPT)
        session.command("GetKernelID")
        worker = Worker(session.evaluate, f'{gate.text}; Print["missed"]; 6', PROMPT)
        gate.wait_until_reached()
        break_connections(relay, session, administrator)
        relay.listen_again()
        with pytest.raises(LinkClosed):
            worker.finish()
        gate.open()
        assert session.reconnect(PROMPT) == (0, (("TextPacket", ("missed\n",)), ("ReturnPacket", (6,))))


def test_a_session_on_a_link_has_no_address(relay):
    with connect(relay.address, PROMPT) as link, pytest.raises(ValueError, match="needs an address"):
        Session(link, reconnect=True)


def test_the_other_side_is_no_server():
    from .helpers import Kernel, peer

    with peer(Kernel({"GetKernelID": "what?"})) as name, pytest.raises(CommandError, match="not a WSTPServer"):
        Session(name, PROMPT, reconnect=True)
