"""The log at level trace: every frame and message of every link, with length and head, shortened."""

import re

from tests.service.helpers import endpoint, entries, messages
from tests.support.kernels import make_kernel
from tests.support.server import ServerProcess
from tests.support.serving import one_pool
from tests.support.testkernel.codec import Function as call
from tests.support.testkernel.codec import encode

ID = r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}"


def traced(folder, **keys):
    return ServerProcess(folder, one_pool(make_kernel(folder), MinimumKernelNumber=1, **keys), "--log-level", "trace")


def without_links(server):
    """The trace entries with `client` and `kernel` in the place of names and addresses."""
    names = re.compile(rf"Client \d+ \([^)]+\)|Kernel {ID}")
    return [
        names.sub(lambda match: match[0].split(" ")[0].lower(), message) for message in messages(server.log, "Trace")
    ]


def test_a_whole_conversation_in_order(tmp_path):
    with traced(tmp_path) as server:
        server.wait_for_log("Pool a is ready")
        with server.connect() as link:
            link.get_packet()
            link.evaluate(call("StringReverse", "abc"))
            kernel = re.search(ID, link.command("GetKernelID"))[0]
            address = endpoint(link)
        server.wait_for_log("is unbridged from")
    found = without_links(server)
    assert found[0] == 'kernel sent InputNamePacket (38 bytes): InputNamePacket["In[1]:= "]'
    first = next(index for index, entry in enumerate(found) if entry.startswith("client"))
    assert found[first:] == [
        'client received InputNamePacket (38 bytes): InputNamePacket["In[1]:= "]',
        'client sent EvaluatePacket (53 bytes): EvaluatePacket[StringReverse["abc"]]',
        'kernel received EvaluatePacket (53 bytes): EvaluatePacket[StringReverse["abc"]]',
        'kernel sent ReturnPacket (30 bytes): ReturnPacket["cba"]',
        'client received ReturnPacket (30 bytes): ReturnPacket["cba"]',
        "client sent WSCommandPacket (43 bytes): WSCommandPacket[GetKernelID[]]",
        f'client received ReturnPacket (54 bytes): ReturnPacket["{{\\"result\\":\\"{kernel}\\"}}"]',
    ]
    assert f"Trace: \n    Client 1 ({address}) sent EvaluatePacket" in server.log
    assert f"Trace: \n    Kernel {kernel} received EvaluatePacket" in server.log


def test_lengths_are_those_on_the_wire_and_contents_are_short(tmp_path):
    text = encode(call("EvaluatePacket", call("StringLength", "y" * 300_000))) + b"]"
    with traced(tmp_path) as server, server.connect() as link:
        link.get_packet()
        link.put_raw(text[:100_000])
        link.put_raw(text[100_000:])
        assert link.get_packet() == ("ReturnPacket", 300_000)
        link.put("EvaluatePacket", call("MakeArray", 10**6))
        packed = len(link.get_raw()) + 1
        server.wait_for_log(rf"Client 1 .* received ReturnPacket \({packed} bytes\)")
    found = without_links(server)
    start = 'EvaluatePacket[StringLength["'
    for direction in ("client sent", "kernel received"):
        (entry,) = [line for line in found if line.startswith(f"{direction} EvaluatePacket ({len(text)} bytes): ")]
        assert entry.endswith(f"): {start}{'y' * (197 - len(start))}...")
    for direction in ("kernel sent", "client received"):
        (entry,) = [line for line in found if line.startswith(f"{direction} ReturnPacket ({packed} bytes): ")]
        assert "): ReturnPacket[{0.0, 1.0, 2.0, " in entry or "): ReturnPacket[List[0.0" in entry
        assert entry.endswith("...") and len(entry) < 270


def test_out_of_band_messages(tmp_path):
    with traced(tmp_path) as server, server.connect() as link:
        link.get_packet()
        link.put("EvaluatePacket", call("SendMessage", 200, 5))
        assert link.get_message() == (200, 5)
        assert link.get_packet()[0] == "ReturnPacket"
        link.put("EvaluatePacket", call("CompoundExpression", call("Print", "begun"), call("Sleep", 60)))
        assert link.get_packet()[0] == "TextPacket"
        link.send_message(3)
        assert link.get_packet()[0] == "ReturnPacket"
        link.close(politely=True)
        server.wait_for_log("LINK_CLOSING")
    found = without_links(server)
    for entry in (
        "kernel sent message 200, argument 5",
        "client received message 200, argument 5",
        "client sent message 3 (ABORT), argument 0",
        "kernel received message 3 (ABORT), argument 0",
        "client sent message 9 (LINK_CLOSING), argument 0",
    ):
        assert found.count(entry) == 1


def test_the_initialisation_of_a_kernel(tmp_path):
    with traced(tmp_path, InitializationCode='Print["hello"]') as server:
        server.wait_for_log("Pool a is ready")
    found = [re.sub(r" \(\d+ bytes\)", "", entry) for entry in without_links(server)]
    start = found.index('kernel sent TextPacket: TextPacket["hello\\x0a"]')
    assert found[start - 1 : start + 2] == [
        'kernel received EvaluatePacket: EvaluatePacket[ToExpression["Print[\\"hello\\"]"]]',
        'kernel sent TextPacket: TextPacket["hello\\x0a"]',
        "kernel sent ReturnPacket: ReturnPacket[Null]",
    ]


def test_a_client_that_leaves_in_the_middle(tmp_path):
    with traced(tmp_path) as server:
        with server.connect() as link:
            link.get_packet()
            link.put_raw(encode(call("EvaluatePacket", "z" * 50))[:40])
        server.wait_for_log("broken off")
    assert any(
        entry.startswith("client sent EvaluatePacket (broken off after 40 bytes): EvaluatePacket[\"z")
        for entry in without_links(server)
    )


def test_what_a_client_sends_cannot_look_like_an_entry(tmp_path):
    forged = "\n\nWSTPServer: Logger (0, 2026-01-01 00:00:00): Error: \n    forged\n\n\x1b[2J"
    with traced(tmp_path) as server, server.connect() as link:
        link.get_packet()
        assert link.evaluate(forged) == forged
    assert not [message for severity, message in entries(server.log) if severity == "Error"]
    assert "\x1b" not in server.log


def test_no_traffic_below_that_level(tmp_path):
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path)), "-l", "debug") as server, server.connect() as link:
        link.get_packet()
        assert link.evaluate(call("Plus", 123456789000, 123)) == 123456789123
    assert messages(server.log, "Trace") == []
    assert "123456789123" not in server.log and "EvaluatePacket" not in server.log
