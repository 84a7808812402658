"""A program on a pseudo-terminal, talked to as a user does: type, and wait for what appears."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

from tools.harness import forking
from tools.harness.server import ROOT

#: Escape sequences that move the cursor, choose colours and modes.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78]|\x1b\][^\x07]*\x07")


class TerminalProgram:
    """`arguments` run on a terminal of their own, as context manager; killed at the end if it still runs.

    home: its HOME and working directory. TERM is dumb unless `environment` says otherwise.
    """

    def __init__(self, arguments, home, environment=None, size=(50, 200)):
        #: What appeared: as it came, and without escape sequences.
        self.raw = ""
        self.output = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        variables = {key: os.environ[key] for key in ("PATH", "TMPDIR") if key in os.environ}
        variables |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "TERM": "dumb", "LANG": "C.UTF-8"}
        variables |= {"PYTHONPATH": str(ROOT), "INPUTRC": "/dev/null"}
        self.process = forking.popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, cwd=home, env=variables | (environment or {}),
            terminal=True,
        )  # fmt: skip
        os.close(slave)

    def expect(self, text, deadline=60.0):
        """Wait until `text` (a str, or a compiled pattern) appears behind what was expected last; the match."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
        end = time.monotonic() + deadline
        while not (match := pattern.search(self.output, self._seen)):
            if not self._read(end):
                raise AssertionError(f"{pattern.pattern!r} did not appear; the terminal shows:\n{self.output}")
        self._seen = match.end()
        return match

    def expect_raw(self, text, deadline=60.0):
        """Wait until `text`, escape sequences and all, has appeared at any time."""
        end = time.monotonic() + deadline
        while text not in self.raw:
            if not self._read(end):
                raise AssertionError(f"{text!r} did not appear; the terminal got:\n{self.raw!r}")

    def _read(self, end):
        """Take what the program writes; False at its end or when time is over."""
        if not select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # all of its side closed
                raise
            return False
        self.raw += data.decode("utf-8", "replace")
        self.output = _CONTROL.sub("", self.raw).replace("\r\n", "\n").replace("\r", "")
        return bool(data)

    def type(self, text):
        """Type the text, and Enter."""
        self.keys(text + "\r")

    def keys(self, text):
        """Type the text as it is: "\\x03" is Ctrl-C, "\\x04" is Ctrl-D."""
        os.write(self._master, text.encode())

    def enter(self, text, expected, deadline=60.0):
        """Type a line and wait for what it gives."""
        self.type(text)
        return self.expect(expected, deadline)

    def interrupt(self, expected, deadline=60.0):
        """Press Ctrl-C and wait for what it gives; press it again each second: two that come at once count as one."""
        end = time.monotonic() + deadline
        while True:
            self.keys("\x03")
            try:
                return self.expect(expected, 1.0)
            except AssertionError:
                if time.monotonic() > end:
                    raise

    def wait(self, deadline=60.0):
        """The exit status; all output has been read then."""
        end = time.monotonic() + deadline
        while self._read(end):
            pass
        return self.process.wait(max(0.1, end - time.monotonic()))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(f"---- the terminal ----\n{self.output}")
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


def script(*arguments):
    """The command line of wstpscript."""
    return [sys.executable, "-m", "wstpserver.cli.script.main", *map(str, arguments)]
