"""Kernels that a server has started, and whose end of the link is in the hands of the test."""
import os
import socket
import tempfile
from pathlib import Path

from tools.harness.fake_kernel.codec import Symbol
from tools.harness.fake_kernel.framing import Framer
from tools.harness.kernels import make_kernel
from tools.harness.rawlink import RawLink
from tools.harness.waiting import wait_for


class ScriptedKernel:
    """One kernel: `link` is its end of the link, `pid` its process, which ends with `close`."""

    def __init__(self, link, pid, control):
        self.link, self.pid, self._control = link, pid, control

    def become_ready(self, server, deadline=60.0):
        """Send the first prompt and answer what the server initialises a kernel with, until the server has it ready.

        Returns the frames that came and were no EvaluatePacket: those of a client that waited for the kernel.
        """
        early = []
        self.link.put("InputNamePacket", "In[1]:= ")

        def ready():
            while (frame := self.link.pending_frame()) is not None:
                if b"EvaluatePacket" in frame[:40]:
                    self.link.put("ReturnPacket", Symbol("Null"))
                else:
                    early.append(frame)
            return f" is ready: process {self.pid}," in server.log

        wait_for(ready, deadline, lambda: f"kernel process {self.pid} to be ready; the log:\n{server.log[-4000:]}")
        self._control.send(b".")  # its process has to keep the link open no longer
        return early

    def close(self):
        self.link.close()
        self._control.close()


class ScriptedKernels:
    """`path` is for KernelPath; each kernel that is started there comes out of `accept`. A context manager."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="scripted-")
        folder = Path(self._folder.name)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(folder / "control"))
        self._listener.listen(100)
        self.path = make_kernel(folder, hand_over=folder / "control")

    def accept(self, timeout=60.0):
        """The next kernel, whose link has been greeted and which has said nothing yet."""
        self._listener.settimeout(timeout)
        control, _ = self._listener.accept()
        control.settimeout(timeout)
        body, (data, message), _, _ = socket.recv_fds(control, 1 << 16, 2)
        pid, _, received = body.decode().partition(" ")
        framer = Framer()
        framer.feed(bytes.fromhex(received))
        link = RawLink(socket.socket(fileno=data), socket.socket(fileno=message), framer)
        return ScriptedKernel(link, int(pid), control)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._folder.cleanup()
