"""Plays a script of both sides of a link: what client (C) and kernel (K) send, and when each reads.

A script is a list of steps. Each side does only what its steps say, and reads one packet or message at a step that says
so. The transcript is what was read, step by step: over a direct link, what the other side has sent, in order. Through
the server it has to be the same.

    c(head, *arguments)      C sends a packet, K reads it                  k(...)  the other way round
    c_ahead(head, *arguments)  C sends a packet that K reads later         k_ahead(...)
    k_reads(), c_reads()       the one who reads it
    c_message(code, argument)  C sends a message, K reads it               k_message(...)
"""
from __future__ import annotations

import contextlib
import dataclasses
import socket

from tests.support.serving import prompt
from tools.harness.fake_kernel.codec import Function, encode
from tools.harness.fake_kernel.joining import LinkClosed
from tools.harness.rawlink import RawLink

#: Seconds after which a packet that has not come counts as held back.
DEADLINE = 60.0

#: What a side read where nothing came, and where its link had ended.
NOTHING, CLOSED = "nothing", "the end of the link"


@dataclasses.dataclass(frozen=True, repr=False)
class Step:
    """`side` ("C" or "K") sends `packet`, or the message `packet` (code, argument), or reads what was sent to it.

    A packet is (head, argument, ...), or (None, value) for a value that is in no packet.
    """

    side: str
    action: str  # "sends", "signals", "reads", "notices"
    packet: tuple = ()

    def __str__(self):
        return f"{self.side} {self.action} {_shown(self.packet) if self.packet else ''}".rstrip()

    __repr__ = __str__


def _shown(packet):
    head, *arguments = packet
    texts = [repr(one) if len(repr(one)) < 40 else f"{repr(one)[:20]}... ({len(one)})" for one in arguments]
    return f"{head}[{', '.join(texts)}]"


def c_ahead(head, *arguments):
    return [Step("C", "sends", (head, *arguments))]


def k_ahead(head, *arguments):
    return [Step("K", "sends", (head, *arguments))]


def c_reads():
    return [Step("C", "reads")]


def k_reads():
    return [Step("K", "reads")]


def c(head, *arguments):
    return c_ahead(head, *arguments) + k_reads()


def k(head, *arguments):
    return k_ahead(head, *arguments) + c_reads()


def c_message(code, argument=0):
    return [Step("C", "signals", (code, argument)), Step("K", "notices")]


def k_message(code, argument=0):
    return [Step("K", "signals", (code, argument)), Step("C", "notices")]


def direct_link():
    """(client's end, kernel's end) of a link with nothing in between."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pairs = []
        for _ in range(2):
            ours = socket.create_connection(listener.getsockname())
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pairs.append((ours, listener.accept()[0]))
    (data, far_data), (message, far_message) = pairs
    return RawLink(data, message), RawLink(far_data, far_message)


def play(script, client, kernel, timeout=DEADLINE):
    """Take the steps with the two ends of a link; returns the transcript: [(number of the step, what was read)].

    It ends at the first read that found nothing within `timeout` seconds, or the end of the link.
    """
    ends = {"C": client, "K": kernel}
    for end in ends.values():
        end.data.settimeout(timeout)
        end.message.settimeout(timeout)
    transcript = []
    for number, step in enumerate(script, 1):
        end = ends[step.side]
        if step.action == "sends":
            head, *arguments = step.packet
            value = arguments[0] if head is None else Function(head, *arguments)
            end.put_raw(encode(value) + b"]")
        elif step.action == "signals":
            end.send_message(*step.packet)
        else:
            read = _read(end.get_message if step.action == "notices" else lambda end=end: _packet(end))
            transcript.append((number, read))
            if read in (NOTHING, CLOSED):
                break
    return transcript


def _packet(end):
    value = end.get()
    return (value.head.short, *value.args) if isinstance(value, Function) else (None, value)


def _read(get):
    try:
        return get()
    except TimeoutError:
        return NOTHING
    except LinkClosed:
        return CLOSED


def play_directly(script, timeout=DEADLINE):
    """The transcript over a direct link. Every packet that was sent must have been read: else the script is wrong."""
    client, kernel = direct_link()
    with client, kernel:
        transcript = play(script, client, kernel, timeout)
        assert NOTHING not in [read for _, read in transcript], f"no such conversation:\n{shown(script, transcript)}"
        for end in (client, kernel):
            assert end.pending_frame() is None, f"something is left:\n{shown(script)}"
    return transcript


def shown(script, transcript=()):
    """The script as text, with what was read."""
    read = dict(transcript)
    return "\n".join(
        f"{number:3} {step}" + (f": {read[number]!r:.200}" if number in read else "")
        for number, step in enumerate(script, 1)
    )


class KernelInTurn:
    """The only kernel of a server, which has one client after the other; a new one when it has been given up."""

    def __init__(self, server, kernels):
        self._server, self._kernels = server, kernels
        self._kernel = None

    def link(self):
        """The link of a kernel that is ready."""
        if self._kernel is None:
            self._kernel = self._kernels.accept()
            self._kernel.become_ready(self._server)
        return self._kernel.link

    def close(self):
        """Give the kernel up."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None


def play_through(script, server, kernel, timeout=DEADLINE):
    """(the transcript through the server, what is wrong afterwards or None).

    Afterwards nobody has more to read than the script says, and the kernel does not count as busy.
    """
    link = kernel.link()
    with contextlib.ExitStack() as failed:
        failed.callback(kernel.close)
        with server.connect() as client:
            assert prompt(client)[0] == "InputNamePacket"
            transcript = play(script, client, link, timeout)
            if transcript and transcript[-1][1] in (NOTHING, CLOSED):
                return transcript, None
            left = _left(client, link)
        if left is None:
            failed.pop_all()
    return transcript, left


def _left(client, kernel):
    """What should not be there after a script that has come to its end; None if all is well."""
    client.put("WSCommandPacket", Function("GetKernelID"))
    answer = _read(client.get_packet)
    if not (answer[0] == "ReturnPacket" and answer[1].startswith('{"result":"')):
        return f"C read {answer!r} instead of the answer to a command"
    identity = answer[1].removeprefix('{"result":"').removesuffix('"}')
    client.put("WSCommandPacket", Function("GetKernelBusyStatus", identity))
    answer = _read(client.get_packet)
    if answer != ("ReturnPacket", '{"result":"False"}'):
        return f"GetKernelBusyStatus gives {answer!r} after the end of all evaluations"
    more = kernel.pending_frame()
    return f"K has more to read: {more!r}" if more is not None else None


def assert_same(script, server, kernel, timeout=DEADLINE):
    """What both sides read through the server is what they read over a direct link."""
    expected = play_directly(script)
    found, left = play_through(script, server, kernel, timeout)
    if found != expected:
        kernel.close()
        number, read = found[-1] if len(found) < len(expected) else next(
            after for before, after in zip(expected, found, strict=False) if before != after
        )  # fmt: skip
        raise AssertionError(
            f"step {number} read {read!r:.200} through the server, {dict(expected)[number]!r:.200} directly:\n"
            + shown(script, found)
        )
    assert left is None, f"{left}:\n{shown(script, found)}"
