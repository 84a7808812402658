"""Code that a server runs before anything else: how tests take something away from it that other systems lack."""

import os
import platform

from tools.harness.server import ROOT

#: Numbers of system calls that are the same everywhere, and of socket().
PIDFD = (424, 434, 438)
CLOSE_RANGE = (436,)
EPOLL_PWAIT2 = (441,)
SPLICE = (76 if platform.machine() in ("aarch64", "arm64") else 275,)
MEMFD = (279 if platform.machine() in ("aarch64", "arm64") else 319,)
SOCKET = 198 if platform.machine() in ("aarch64", "arm64") else 41

_REFUSE = """
import ctypes, struct
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
calls, netlink, socket_call, error = {calls!r}, {netlink!r}, {socket_call!r}, {error!r}
code = [(LOAD, 0, 0, 0)]  # the number of the call
for number in calls:
    code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, 0x00050000 | error)]
if netlink:
    code += [(EQUAL, 0, 3, socket_call), (LOAD, 0, 0, 16), (EQUAL, 0, 1, 16), (RETURN, 0, 0, 0x00050000 | error)]
code.append((RETURN, 0, 0, 0x7FFF0000))
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(filters))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP
"""

_WITHOUT_PROC = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for call in (libc.unshare(0x00020000), libc.mount(b"none", b"/", None, 0x44000, None),
             libc.mount(b"none", b"/proc", b"tmpfs", 0, None)):
    assert call == 0, os.strerror(ctypes.get_errno())
"""


def _environment(folder, code):
    where = folder / "before"
    where.mkdir()
    (where / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{where}:{ROOT}"}


def refusing(folder, error, *, calls=(), netlink=False):
    """The environment of a server to which the system refuses these calls, and netlink sockets, with this errno."""
    values = {"calls": calls, "netlink": netlink, "socket_call": SOCKET, "error": error}
    return _environment(folder, _REFUSE.format(**values))


def without_proc(folder):
    """The environment of a server that sees no /proc."""
    return _environment(folder, _WITHOUT_PROC)


def can_hide_proc():
    """Whether this system lets us do that."""
    pid = os.fork()
    if pid == 0:
        try:
            exec(_WITHOUT_PROC, {})
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
