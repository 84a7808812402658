"""Talking to the C program vendor_client.c, a client on the vendor's library."""
import contextlib
import os
import select
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent


class StepError(Exception):
    """A step of the client failed; `code` is the library's error number."""

    def __init__(self, answer):
        super().__init__(answer)
        _, _, rest = answer.partition("error ")
        self.code = int(rest.partition(":")[0])


class VendorClient:
    """A running vendor_client; `step` takes one step, the methods are the frequent ones."""

    def __init__(self, program, deadline=60.0):
        self._deadline = deadline
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def send(self, step):
        """Begin a step; its answer is to be read with `answer`."""
        self.process.stdin.write(step.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, deadline=None):
        """What the step begun last printed; raises StepError, or TimeoutError after `deadline` seconds."""
        deadline = self._deadline if deadline is None else deadline
        while b"\n" not in self._received:
            if not select.select([self.process.stdout], [], [], deadline)[0]:
                raise TimeoutError(f"no answer from the vendor's library within {deadline} s")
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                raise EOFError("the client program has ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        text = line.decode()
        if text != "ok" and not text.endswith(" ok"):
            raise StepError(text)
        return text.removesuffix("ok").rstrip(" ")

    def step(self, step, deadline=None):
        self.send(step)
        return self.answer(deadline)

    def connect(self, port, host="127.0.0.1"):
        """Open and activate a link to a link server."""
        self.step(f"open -linkmode connect -linkprotocol TCPIP -linkname {port}@{host} -linkoptions 4")
        self.step("activate")

    def read(self, deadline=None):
        return self.step("read", deadline)
