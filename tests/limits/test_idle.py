"""ClientIdleTimeout, and the times, folder and environment that pools have of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.serving import SUCCESS, kernel_id, kernel_process, kernels, message_of
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for

IDLE = "WSTPServer: the link is closed: the client was idle for longer than ClientIdleTimeout\n"


def test_an_idle_client_is_told_so_and_its_kernel_goes_back(serve, gate, tmp_path):
    """The time-out comes by a reload, when the clients do what they are to do."""
    pool = {"MinimumKernelNumber": 4, "ReservePreviouslyConnectedKernels": False}
    server = serve({"Main": pool})
    idle, busy, bare, asking = server.client(), server.client(), server.client(), server.client()
    name, busy_name = kernel_id(idle), kernel_id(busy)
    busy.put("EvaluatePacket", gate.busy())
    bare.command("DisconnectKernel")
    bare.put_raw(b"F")  # the beginning of something
    asking.put("EvaluatePacket", call("Ask"))
    assert asking.get_packet()[0] == "InputPacket"
    (path,) = tmp_path.glob("*.conf")
    path.write_text(json.dumps({**json.loads(path.read_text()), "ClientIdleTimeout": 1}))
    assert busy.command("ReloadConfiguration") == SUCCESS
    assert message_of(idle.get_packet()) == IDLE
    assert idle.at_end()
    assert message_of(bare.get_packet()) == IDLE
    server.wait_for_log(r"Information: \n    The link of Client \d+ \(127.*\) is closed: the client was idle for")
    with server.connect(without_kernel=True) as watcher:
        assert kernels(watcher)[name]["State"] == "free"
        assert kernels(watcher)[busy_name]["Client"] is not None, "whoever evaluates, or is asked, is not idle"
    gate.open()
    assert busy.get_packet() == ("ReturnPacket", gate.path)
    asking.put("TextPacket", "answer")
    assert asking.get_packet() == ("ReturnPacket", "answer")
    assert message_of(busy.get_packet()) == message_of(asking.get_packet()) == IDLE


def test_folder_and_environment_of_a_pool(serve, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    server = serve({"Main": {"KernelDirectory": "data", "KernelEnvironment": {"WSTP_COLOUR": "grün", "LANG": None}}})
    link = server.client()
    process = Path(f"/proc/{kernel_process(link)}")
    assert os.readlink(process / "cwd") == os.fspath(folder)
    variables = (process / "environ").read_bytes().split(b"\0")
    assert "WSTP_COLOUR=grün".encode() in variables
    assert not [variable for variable in variables if variable.startswith(b"LANG=")]
    folder.rename(tmp_path / "away")
    link.command("CloseKernel", kernel_id(link))
    server.wait_for_log(r'did not start: .*its KernelDirectory ".*data" is not a folder')


def test_times_of_a_pool(serve, gate):
    """One pool waits and starts as the server says, the other for shorter times."""
    patient = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}
    hasty = patient | {"KernelWaitTimeout": 0.2, "KernelStartTimeout": 0.5, "InitializationCode": gate.text}
    server = serve({"Hasty": hasty, "Patient": patient})
    server.wait_for_log(r"A kernel of pool Hasty did not start: .* within 0\.5 seconds")
    with server.connect() as link:
        while (text := message_of(link.get_packet())).startswith("WSTPServer: waiting"):
            pass
        assert "no kernel of pool Hasty became available within 0.2 seconds" in text
        assert link.at_end()
    with server.connect(without_kernel=True) as watcher:
        wait_for(lambda: [one["State"] for one in kernels(watcher, "Patient").values()] == ["free"])
