"""Servers on systems that lack something, or do not allow it: everything works, perhaps slower."""
import errno
import json
import os
import sys

import pytest

from tests.server import starting
from tests.support.serving import assert_serves, join, one_pool, ready_kernels, restart, serving
from tools.harness import processes
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.rawlink import RawLink

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these calls are Linux's")

#: What is refused together: calls that different parts of the server make, so that each meets all that it needs else.
REFUSED = {
    "close_range, epoll_pwait2, memfd_create": {
        "calls": (*starting.CLOSE_RANGE, *starting.EPOLL_PWAIT2, *starting.MEMFD)
    },
    "pidfd, splice, netlink": {"calls": (*starting.PIDFD, *starting.SPLICE), "netlink": True},
    "all of them": {
        "calls": (
            *starting.CLOSE_RANGE, *starting.EPOLL_PWAIT2, *starting.MEMFD, *starting.PIDFD, *starting.SPLICE,
        ),
        "netlink": True,
    },
}


def classic_client(server):
    data, message = joining.connect_classic(("127.0.0.1", server.port))
    _, framer = joining.greet(data, 6)
    return RawLink(data, message, framer)


def use(server):
    """Kernels that start and end, clients of both modes, a kernel that is started by a command, a restart."""
    ready_kernels(server, 2)
    assert_serves(server)
    with join(server) as link, classic_client(server) as classic:
        assert link.evaluate(Function("StringLength", "x" * 2_000_000)) == 2_000_000
        assert classic.get_packet()[0] == "InputNamePacket"
        assert classic.evaluate(2) == 2
        assert "result" in json.loads(link.command("StartKernel", make_kernel(server.folder, "other")))
        restart(server)
        assert link.evaluate(3) == 3
    assert "Turned away" not in server.log


@pytest.mark.parametrize(
    ("what", "error"),
    [*((what, errno.EPERM) for what in REFUSED if what != "all of them"),
     ("all of them", errno.ENOSYS), ("all of them", errno.EINVAL)],
    ids=lambda value: errno.errorcode.get(value, value),
)  # fmt: skip
def test_system_calls_that_are_refused(tmp_path, what, error):
    environment = starting.refusing(tmp_path, error, **REFUSED[what])
    outliving = {"KernelsOutliveServer": 60}  # notes are made for the next server, if they can be
    configuration = one_pool(make_kernel(tmp_path), 2, root=outliving, MaximumKernelNumber=8)
    with serving(tmp_path, configuration, environment=environment) as server:
        use(server)


@pytest.mark.skipif(os.geteuid() != 0 or not starting.can_hide_proc(), reason="/proc cannot be hidden here")
def test_a_system_without_proc(tmp_path):
    environment = starting.without_proc(tmp_path)
    configuration = one_pool(make_kernel(tmp_path), 2, MaximumKernelNumber=8)
    with serving(tmp_path, configuration, environment=environment) as server:
        use(server)
        (kernel, *_) = processes.children(server.pid)
        assert processes.alive(kernel)
