"""The vendor-library programs against each other and against raw links: what the other tests stand on."""
import contextlib
import subprocess
import sys

import pytest

from tests.interop.programs import FOLDER, StepError
from tools.harness import rawlink
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.fake_kernel.codec import Symbol

ROOT = FOLDER.parents[1]


@contextlib.contextmanager
def joined(client, kernel):
    """The client listens, the kernel is started and connects; yields the kernel's process."""
    names = client.step("open -linkmode listen -linkprotocol TCPIP -linkhost 127.0.0.1")
    arguments = ["-wstp", "-linkprotocol", "TCPIP", "-linkconnect", "-linkname", names]
    with subprocess.Popen([kernel, *arguments]) as process:
        try:
            client.step("activate")
            yield process
        finally:
            process.kill()


def test_evaluates(vendor_client, vendor_kernel):
    with joined(vendor_client, vendor_kernel):
        assert vendor_client.read() == 'InputNamePacket["In[1]:= "]'
        vendor_client.step("plus 2 40")
        assert vendor_client.read() == "ReturnPacket[42]"


def test_packed_reals(vendor_client, vendor_kernel):
    with joined(vendor_client, vendor_kernel):
        vendor_client.read()
        assert vendor_client.step("reals 1000000") == "1000000 equal"


def test_death_is_seen(vendor_client, vendor_kernel):
    with joined(vendor_client, vendor_kernel) as process:
        vendor_client.read()
        with pytest.raises(StepError) as caught:
            vendor_client.step("call Die")
            vendor_client.read()
        assert caught.value.code in (1, 11)
        assert process.wait(60) == 3


@pytest.mark.parametrize("version", [4, 5, 6])
def test_kernel_speaks_to_a_raw_link(vendor_kernel, version):
    """Every version of the greeting; abort while it spins."""
    with rawlink.running_kernel(str(vendor_kernel), version=version) as (link, process):
        if link.version == 5:  # symbols may travel as numbers of a private table: nothing here can read them
            assert link.data.recv(1) == b"F"
            return
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        assert link.evaluate(call("Plus", 2**40, 2)) == 2**40 + 2
        link.put("EvaluatePacket", call("Spin", 60))
        assert link.get_packet() == ("TextPacket", "spinning")
        link.send_message(3)
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
        assert link.evaluate(call("Echo", "λ😀")) == "λ😀"
        link.close(politely=True)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("program", "protocol"),
    [
        ("from wstpserver.embedded.main import main", ""),
        ("from wstpserver.cli.kernel import main", ""),
        ("sys.modules['mathics'] = None; from wstpserver.embedded.main import main", "-linkprotocol TCPIP"),
    ],
)
def test_the_side_that_launches_is_refused(vendor_client, tmp_path, program, protocol):
    """Its library does not notice that its child has ended; without a protocol it asks for shared memory."""
    kernel = tmp_path / "kernel"
    source = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}; sys.exit(main())"
    kernel.write_text(f"#!{sys.executable}\n{source}\n")
    kernel.chmod(0o755)
    vendor_client.step(f"open -linkmode launch {protocol} -linkname '{kernel} -wstp'")
    with pytest.raises(StepError) as caught:
        vendor_client.step("activate")
    assert caught.value.code == 1  # the connection was lost
