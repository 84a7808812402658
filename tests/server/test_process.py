"""What a process that the server starts gets from it, and what not."""
import os
import sys

import gevent
import pytest

from wstpserver.server import process

OPEN = "import os; print(*sorted(os.listdir('/proc/self/fd'), key=int), flush=True)"


@pytest.fixture(params=[True, False], ids=["marked", "closed one by one"])
def way(request, monkeypatch):
    """How descriptors are kept from the child: by a call of newer systems, and without."""
    if request.param and not process.CAN_MARK_DESCRIPTORS:
        pytest.skip("this system cannot")
    monkeypatch.setattr(process, "CAN_MARK_DESCRIPTORS", request.param)


def printed(*arguments, **options):
    lines = []
    child = process.spawn([sys.executable, "-S", "-E", *arguments], lines.append, **options)
    with gevent.Timeout(20):
        child.stop(grace=20)
    assert child.exited.get() == 0
    return lines


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_no_descriptor_but_the_three(way):
    """Also none that whoever started the server left open for it."""
    reading, writing = os.pipe()
    try:
        for descriptor in (reading, writing):
            os.set_inheritable(descriptor, True)
        (listing,) = printed("-c", OPEN)
        assert listing.split()[:3] == ["0", "1", "2"]
        assert len(listing.split()) == 4  # and the one for the listing
        assert os.get_inheritable(reading)  # they are the server's as before
    finally:
        os.close(reading)
        os.close(writing)


def test_descriptors_that_are_meant_for_it(way):
    reading, writing = os.pipe()
    try:
        script = f"import os; os.write({writing}, b'from the child')"
        assert printed("-c", script, pass_descriptors=[writing]) == []
        assert os.read(reading, 100) == b"from the child"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_program_that_is_not_there(way, tmp_path):
    with pytest.raises(FileNotFoundError):
        process.spawn([str(tmp_path / "nothing")], print)
