"""The clients and kernels in C: right answers pass, wrong ones are noticed."""
import contextlib
import shutil

import pytest

from tools.bench.ends import ClientError, LightEnds, VendorEnds
from tools.harness.fake_kernel.codec import Function
from tools.harness.rawlink import connect
from tools.harness.vendor import library_path

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


@pytest.fixture
def light():
    with contextlib.ExitStack() as stack:
        yield LightEnds(stack)


def steps(ends, port):
    """Every step of a client; the durations must be as many as were asked for."""
    with ends.client() as client:
        assert len(client.step(f"connect {port}")) == 2
        for step, count in (("time 20", 20), ("echo 1 2", 2), ("echo 12500 3", 3), ("echo 625000 1", 1), ("up 1 2", 2),
                            ("up 70000 3", 3), ("up 3000000 1", 1), ("down 1 2", 2), ("down 70000 3", 3),
                            ("down 3000000 1", 1), ("time 3", 3)):  # fmt: skip
            durations = client.step(step)
            assert len(durations) == count, step
            assert all(duration > 0 for duration in durations)
        assert client.step("close") == []


def test_light_steps(light):
    steps(light, light.port)


def test_vendor_steps():
    if library_path() is None:
        pytest.skip("WSTP_LIBRARY names no library")
    with contextlib.ExitStack() as stack:
        ends = VendorEnds(stack)
        steps(ends, ends.port)


def test_what_a_client_complains_of(light):
    with light.client() as client:
        for step, problem in (("time 1", "no link"), ("connect 1", "cannot connect"), ("fly", "no link")):
            with pytest.raises(ClientError, match=problem):
                client.step(step)
        client.step(f"connect {light.port}")
        with pytest.raises(ClientError, match="no such step"):
            client.step("fly 1")


def test_the_light_kernel_answers_any_client(light):
    with connect(light.port) as link:
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        assert link.evaluate(Function("Plus", 2, 3, 10**12)) == 10**12 + 5
        assert link.evaluate(Function("List", 7, "x" * 1000)) == Function("List", 7, "x" * 1000)
        assert link.evaluate(Function("Length", Function("List", 0.0, 1.0, 2.0))) == 3
        assert link.evaluate(Function("Unknown", 1)).short == "Null"


def test_numbers_out_of_place_are_noticed(light):
    """The kernel compares a list that it gets with what is sent in measurements."""
    with connect(light.port) as link:
        link.get_packet()
        assert link.evaluate(Function("Length", Function("List", 0.0, 2.0, 1.0))).short == "$Failed"
