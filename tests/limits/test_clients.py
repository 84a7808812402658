"""MaximumClients."""

from __future__ import annotations

from tests.support.serving import kernel_id
from tests.support.testkernel.codec import Function as call

FULL = ("TextPacket", "WSTPServer: no further client is taken: MaximumClients is 2\n")


def test_one_client_too_many_is_told_so_and_its_link_is_closed(serve):
    server = serve({"Main": {"MinimumKernelNumber": 3}}, MaximumClients=2)
    first, second = server.client(), server.client()
    for _ in range(3):
        with server.client(prompt=False) as third:
            third.put("WSCommandPacket", call("GetServerInformation"))
            third.put("EvaluatePacket", call("Plus", 2, 2))
            assert third.get_packet() == FULL
            assert third.at_end()
    server.wait_for_log(r"Warning: \n    Client 3 \(127.*\) was turned away: no further client is taken")
    assert second.evaluate(call("Plus", 2, 2)) == 4
    first.close()
    server.wait_for_log("Client 1 .* disconnected")
    assert kernel_id(server.client()) != kernel_id(second)
