"""The real server program as a child process of a test."""
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

from tools.harness import forking, processes, rawlink
from tools.harness.waiting import wait_for

ROOT = forking.ROOT
#: The program with the grace periods that its first word says, as JSON.
WITH_GRACE = (
    "import json, sys; from wstpserver.cli.serve import main; from wstpserver.server import GracePeriods;"
    " sys.exit(main(sys.argv[2:], GracePeriods(**json.loads(sys.argv[1]))))"
)

LISTENING = re.compile(r"Listening for new connections on port (\d+)")


def pool(kernel, **keys):
    """The settings of one pool with this KernelPath; keys as in the configuration file.

    It has one kernel unless they say otherwise: a start of one costs more than most tests.
    """
    return {"KernelPath": os.fspath(kernel), "MinimumKernelNumber": 1, **keys}


def free_ports(number=1):
    """Ports that nobody uses, and that the system gives to nobody who asks for any port or connects."""
    found = set()
    while len(found) < number:
        port = random.randrange(10_000, _first_ephemeral_port())
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)


def _first_ephemeral_port():
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except OSError:
        return 32768


class ServerProcess:
    """`python -m wstpserver` on a free port of the loopback interface, as context manager.

    configuration: a dict as in wstpserver.conf, or its text, or None (no -c: the program searches). Kernels end with
        the server unless the dict says KernelsOutliveServer: nothing is left of a server that a test kills.
    root: the checkout whose server it is, with its C module.
    grace: attributes of `GracePeriods` by name, where a test would wait for the usual ones.
    leave_deadline: seconds that what it has started has to end after it.
    before: is called in its process before the program is executed (`preexec_fn` of `subprocess.Popen`).
    usual_address: whether it gets `--port 0 --interface 127.0.0.1`; the arguments say it otherwise.
    Its HOME, XDG_RUNTIME_DIR and working directory are `folder`. Leaving the block stops it with SIGTERM and
    asserts that it exits with 0 and that no process it started is left; all are ended, whatever happens.
    When the block fails the server's log is printed, so that pytest shows it. A server whose test is killed is ended.
    """

    def __init__(
        self, folder, configuration=None, *arguments, environment=None, stop_deadline=60.0, usual_address=True,
        root=ROOT, grace=None, leave_deadline=60.0, before=None
    ):
        self.folder = Path(folder)
        self.root = Path(root)
        self.mark = f"WSTP_TEST_{uuid.uuid4().hex}"
        self.port = None
        self.process = None
        configured = self._configure(configuration)
        address = ["--port", "0", "--interface", "127.0.0.1"] if usual_address else []
        self._arguments = [*address, *configured, *arguments]
        self._environment = environment or {}
        self._stop_deadline = stop_deadline
        self._grace = grace
        self._leave_deadline = leave_deadline
        self._before = before
        self._lines = []
        self._changed = threading.Condition()
        self._ended = False
        self._expected_exit = 0

    def _configure(self, configuration):
        if configuration is None:
            return []
        if isinstance(configuration, dict) and self.root == ROOT:  # a server of an older checkout does not know the key
            configuration = {**configuration, "KernelsOutliveServer": configuration.get("KernelsOutliveServer", 0)}
        path = self.folder / f"{self.mark}.conf"
        text = configuration if isinstance(configuration, str) else json.dumps(configuration, indent=4)
        path.write_text(text, encoding="utf-8")
        return ["--configuration-file", str(path)]

    # Starting

    def start(self, deadline=60.0):
        """Start it and wait for the line that says the port; AssertionError with the log if none comes."""
        self.launch()
        match = self.wait_for_log(LISTENING, deadline)
        self.port = int(match[1])
        return self

    def launch(self):
        """Start it and wait for nothing: for a server that is expected to give up."""
        environment = {key: os.environ[key] for key in forking.INHERITED if key in os.environ}
        environment |= {"HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}
        environment |= {"PYTHONPATH": str(self.root), self.mark: "1", processes.lasting_mark(os.getpid()): "1"}
        environment |= self._environment
        program = ["-m", "wstpserver"] if self._grace is None else ["-c", WITH_GRACE, json.dumps(self._grace)]
        words = [*program, *self._arguments]
        if self.root == ROOT and self._before is None and forking.can_fork(environment):
            self.process = forking.fork_server(words, environment, self.folder)
        else:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=self.folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
                preexec_fn=self._before,
            )  # fmt: skip
        threading.Thread(target=self._read_log, daemon=True).start()
        return self

    def _read_log(self):
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # While it runs

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        """Everything it wrote so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_for_log(self, pattern, deadline=100.0):
        """The match of a regular expression in the log, now or within `deadline` seconds."""
        pattern = re.compile(pattern)

        def found():
            return pattern.search("".join(self._lines)) or self._ended

        with self._changed:
            self._changed.wait_for(found, deadline)
        match = pattern.search(self.log)
        assert match, f"{pattern.pattern!r} did not come within {deadline} s; the log:\n{self.log}"
        return match

    def connect(self, **options):
        """A RawLink of a new client."""
        return rawlink.connect(self.port, **options)

    def processes(self):
        """Process ids of everything it started that still lives, orphans included, but not of its keeper."""
        return [pid for pid in self.everything() if not processes.command_line(pid).endswith(processes.KEEPER)]

    def everything(self):
        """The same with its keeper."""
        return [pid for pid in processes.marked(self.mark) if pid != self.pid]

    # Stopping

    def stop(self, number=signal.SIGTERM):
        """Send the signal, wait for the end; returns the exit code (negative: the signal that ended it)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(self._stop_deadline)

    def wait_for_exit(self, deadline=60.0):
        """The exit code of a server that ends by itself, when everything it wrote is in `log`."""
        code = self.process.wait(deadline)
        self.wait_for_end_of_log(deadline)
        return code

    def wait_for_end_of_log(self, deadline=60.0):
        """Wait until its output has ended, whether it has itself or not."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, deadline), f"the log does not end:\n{self.log}"

    def expect_exit(self, code):
        """The exit code that leaving the block accepts instead of 0 (-9 after a test killed it)."""
        self._expected_exit = code

    def assert_no_process_left(self, deadline=60.0):
        """Every process it started is gone, or goes within `deadline` seconds."""
        wait_for(lambda: not self.everything(), deadline, self._describe_processes, interval=0.05)

    def _describe_processes(self):
        return f"processes left: {[(pid, processes.command_line(pid)) for pid in self.everything()]}"

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind, *_):
        good = False
        try:
            code = self.stop()
            if kind is None:
                assert code == self._expected_exit, f"the server ended with {code}; the log:\n{self.log}"
                self.assert_no_process_left(self._leave_deadline)
                self._close()
                good = True
        finally:
            if not good:
                self.kill()
                print(f"---- log of the server ----\n{self.log}")

    def kill(self):
        """End it and everything that it started, at once."""
        for pid in [*self.everything(), self.pid]:
            if pid != self.pid or self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._close()

    def _close(self):
        """Take the end of the process and of what it wrote."""
        self.process.wait()
        with self._changed:  # what it wrote last may not have been read yet
            self._changed.wait_for(lambda: self._ended, self._stop_deadline)
        self.process.stdout.close()
