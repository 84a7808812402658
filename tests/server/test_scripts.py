"""Scripts of what both sides of a link say, played through a bridge: everything arrives as over a direct link, in the
order in which it was sent, but for evaluations that are sent while the kernel computes."""

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.whole import Server, packet

#: Of a client, and of a kernel that asks something of its client.
REQUESTS = [
    "Call", "Evaluate", "EnterExpression", "Expression", "Unknown", "Input", "InputString", "Menu", "BeginDialog"
]  # fmt: skip
EVALUATIONS = ["Evaluate", "EnterText", "EnterExpression"]
ANSWERS = ["Return", "Text", "Unknown", "Call", "Expression"]
OUTPUT = ["Text", "Message", "Display", "OutputName", "Suspend", "Resume"]

CATALOGUE = [
    *(
        f"C Evaluate, K {request}, C {inner}, K Return, C Return, K Return"
        for request in REQUESTS
        for inner in EVALUATIONS
    ),
    *(f"C Evaluate, K {output}, K {request}, C Evaluate" for output in OUTPUT for request in ("Call", "Input")),
    "C Evaluate, K Menu, C EnterText, K Return, C Evaluate, K Return",
    "C Evaluate, K BeginDialog, K InputName, K Return, C EnterText, K EndDialog, C Evaluate, K Return",
    "C EnterText, K OutputName, K ReturnText, K InputName, C EnterText, K InputName, C Evaluate",
    "C Evaluate, K Evaluate, C Evaluate, K Evaluate, C Return, K Return, C Return, K Return, C Evaluate",
    "C Return, C Unknown, K Text, K Unknown, C Text",
]


def frame(name, number):
    return packet(f"{name}Packet" if name != "Unknown" else "Foo", number)


class Player:
    """A client and a kernel at a bridge."""

    def __init__(self):
        self.server = Server()
        self.kernel, self.kernel_peer = self.server.kernel()
        self.session, self.client_peer, _ = self.server.client(self.kernel)
        with gevent.Timeout(20):
            while not self.session.peer.is_open:
                gevent.sleep(0.001)

    def play(self, steps):
        """Each step arrives at the other side before the next one is made."""
        for number, step in enumerate(steps):
            side, name = step.split(" ")
            source, target = self.client_peer, self.kernel_peer
            if side == "K":
                source, target = target, source
            source.put(frame(name, number))
            head, value = gevent.get_hub().threadpool.apply(target.get)
            assert (head.removesuffix("Packet").replace("Foo", "Unknown"), value) == (name, number), steps

    def close(self):
        self.server.close()


@pytest.fixture
def player():
    made = Player()
    yield made
    made.close()


@pytest.mark.parametrize("script", CATALOGUE)
def test_a_script_is_played_as_over_a_direct_link(player, script):
    player.play(script.split(", "))


@st.composite
def scripts(draw):
    """Evaluations are sent to a kernel that is idle, or that has just written something else than plain output."""
    steps, may_evaluate = [], True
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            names = [*ANSWERS, *EVALUATIONS] if may_evaluate else ANSWERS
            name = draw(st.sampled_from(names))
            may_evaluate = may_evaluate and name not in EVALUATIONS and not steps
            steps.append(f"C {name}")
        else:
            name = draw(st.sampled_from([*OUTPUT, *REQUESTS, "Return", "EndDialog", "InputName", "ReturnText"]))
            may_evaluate = may_evaluate or name not in OUTPUT
            steps.append(f"K {name}")
    return steps


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=scripts())
def test_random_scripts_are_played_as_over_a_direct_link(steps):
    player = Player()
    try:
        player.play(steps)
    finally:
        player.close()


def test_what_waits_keeps_its_place(player):
    """A kernel that computes gets the second evaluation, and what stands behind it, when it has answered."""
    client, kernel = player.client_peer, player.kernel_peer
    for number, name in enumerate(["Evaluate", "Evaluate", "Unknown", "Evaluate"]):
        client.put(frame(name, number))
    received = []
    for name in ("Return", "Return", "Return"):
        received.append(gevent.get_hub().threadpool.apply(kernel.get))
        kernel.put(frame(name, 0))
        if len(received) == 2:
            received.append(gevent.get_hub().threadpool.apply(kernel.get))
    assert [value for _, value in received] == [0, 1, 2, 3]


def test_a_message_before_there_is_a_kernel_comes_behind_the_packets_before_it():
    server = Server()
    session, client, _ = server.client()
    client.put(frame("Evaluate", 1))
    with gevent.Timeout(20):
        while not session.queue.waits:
            gevent.sleep(0.001)
    session.queue.message(3, 0)
    kernel, kernel_peer = server.kernel()
    sent = []
    kernel.send_message = lambda code, argument: sent.append((code, argument, kernel.busy))
    server.connect(session, kernel)
    assert gevent.get_hub().threadpool.apply(kernel_peer.get) == ("EvaluatePacket", 1)
    with gevent.Timeout(20):
        while not sent:
            gevent.sleep(0.001)
    assert sent == [(3, 0, True)]
    server.close()
