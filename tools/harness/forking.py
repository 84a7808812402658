"""Servers as forks of a process that has loaded the program: most of a server's start is importing, and a run of the
tests starts more than a thousand.

The tests ask for it (`enable`). A server that is to be measured, or whose environment says how Python starts, is
executed as usual.
"""
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from pathlib import Path

from tools.harness.processes import keep_descriptor

ROOT = Path(__file__).parents[2]

#: What a server inherits from the environment of the tests.
INHERITED = ("PATH", "LANG", "TMPDIR")

#: Environment variables, by their beginnings, that are read before or while a program is loaded.
_READ_EARLY = ("PYTHON", "GEVENT", "LANG", "LC_", "LD_", "MALLOC_", "TMPDIR", "TZ")

#: The modules that are loaded: those of a running server.
_LOADED = ("wstpserver.cli.serve", "wstpserver.server.app")

_STATUS = struct.Struct("=i")
_LARGEST_REQUEST = 1 << 17

_enabled = False
_parents = {}


def enable():
    """Have servers forked in this process from now on."""
    global _enabled
    _enabled = True


def can_fork(environment):
    """Whether a server with this environment, beside what all have, can be forked."""
    return _enabled and hasattr(os, "pidfd_open") and not any(name.startswith(_READ_EARLY) for name in environment)


def fork_server(words, environment, folder):
    """Start what `python` would with these words, which belongs to the program `wstpserver`.

    words: "-m" with a module or "-c" with a program, and the arguments. environment: the whole of it. folder: the
    working directory. Returns what can be used as a `subprocess.Popen`.
    """
    parent = _parents.get(os.getpid())
    if parent is None:
        parent = _parents[os.getpid()] = _Parent()
    ignoring = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # what is executed inherits that
    return parent.fork(
        {"words": words, "environment": environment, "folder": os.fspath(folder), "ignoring": ignoring}
    )


class _Parent:
    """The process that has loaded the program; it ends with this one."""

    def __init__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {key: os.environ[key] for key in INHERITED if key in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                # the last word is what ps shows of each server
                [sys.executable, "-m", "tools.harness.forking", str(theirs.fileno()), "wstpserver"],
                cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._control = ours
        keep_descriptor(ours.fileno())
        self._lock = threading.Lock()
        atexit.register(self._end, os.getpid())

    def _end(self, owner):
        if os.getpid() == owner:
            self._control.close()
            self._process.wait(60)

    def fork(self, request):
        output, its_output = os.pipe()
        status, its_status = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(request).encode()], [its_output, its_status])
                pid = _STATUS.unpack(self._control.recv(_STATUS.size))[0]
        except BaseException:
            os.close(output)
            os.close(status)
            raise
        finally:
            os.close(its_output)
            os.close(its_status)
        return ForkedProcess(pid, output, status)


class ForkedProcess:
    """A server that was forked: what the tests use of `subprocess.Popen`."""

    def __init__(self, pid, output, status):
        self.pid = pid
        self.returncode = None
        self.stdout = open(output, encoding="utf-8")  # noqa: SIM115 (whoever has it closes it)
        self._status = status
        self._lock = threading.Lock()

    def poll(self):
        """The exit code (negative: the signal that ended it), None while it runs."""
        return self._look(0)

    def wait(self, timeout=None):
        """The same at its end. Raises subprocess.TimeoutExpired."""
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(f"server {self.pid}", timeout)
        return self.returncode

    def _look(self, timeout):
        poll = select.poll()
        with self._lock:
            if self.returncode is None:
                poll.register(self._status, select.POLLIN)
                if poll.poll(None if timeout is None else timeout * 1000):
                    data = os.read(self._status, _STATUS.size)
                    os.close(self._status)
                    # without a status, the parent was killed, and there is nobody to say how the server ended
                    self.returncode = _STATUS.unpack(data)[0] if data else -signal.SIGKILL
            return self.returncode

    def send_signal(self, number):
        """Send the signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __del__(self):
        if self.returncode is None:
            with contextlib.suppress(OSError):
                os.close(self._status)


# -- in the parent -----------------------------------------------------------------------------------------------


def _serve_requests(control):
    """Fork servers, and say when and how they end, until the other side has ended."""
    children = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in children:
                poll.unregister(descriptor)
                _report(descriptor, *children.pop(descriptor))
                continue
            data, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 2)
            if not data:
                return
            output, status = descriptors
            pid = os.fork()
            if not pid:
                control.close()
                for number in (status, *children, *(status for _, status in children.values())):
                    os.close(number)
                _become_program(json.loads(data), output)
            os.close(output)
            watched = os.pidfd_open(pid)
            children[watched] = pid, status
            poll.register(watched, select.POLLIN)
            control.send(_STATUS.pack(pid))


def _report(watched, pid, status):
    """Say how a child has ended; its number is not free for another process before that."""
    found = os.waitid(os.P_PIDFD, watched, os.WEXITED | os.WNOWAIT)
    code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    with contextlib.suppress(BrokenPipeError):
        os.write(status, _STATUS.pack(code))
    os.close(status)
    os.waitpid(pid, 0)
    os.close(watched)


def _become_program(request, output):
    """Be the program, to the end; of the parent there is only what importing leaves."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignoring"] else signal.default_int_handler)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        # those of the parent remember whether its files can be sought in
        for name, number in (("stdout", 1), ("stderr", 2)):
            was = getattr(sys, name)
            buffering = 1 if number == 2 else -1
            now = open(number, "w", buffering, encoding=was.encoding, errors=was.errors, closefd=False)  # noqa: SIM115
            setattr(sys, name, now)
            setattr(sys, f"__{name}__", now)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        code = _run(request["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the last place that can report it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(words):
    """Run what `python` would with these words; the option -m or -c is the first of them."""
    sys.orig_argv = [sys.executable, *words]
    option, program, *arguments = words
    if option == "-m":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *arguments]
        exec(program, {"__name__": "__main__"})
    return 0


def _main():
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for name in _LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would write to what the children share with this process
    _serve_requests(control)


if __name__ == "__main__":
    _main()
