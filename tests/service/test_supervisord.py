"""The server under a real supervisord, started from the file in tools/service with its paths replaced."""

import configparser
import json
import os
import re
import signal
import subprocess
import sys
import uuid
import xmlrpc.client
from pathlib import Path

import pytest

from tests.support.serving import prompt
from tools.harness import processes, rawlink
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tools" / "service" / "supervisord.conf"
PROGRAMS = Path(sys.executable).parent
LISTENING = re.compile(r"Listening for new connections on port (\d+)")

pytest.importorskip("supervisor")


class Supervised:
    """A supervisord with the program wstpserver; as context manager it ends both and checks that nothing is left.

    `port` is that of the server, once it is `begun`.
    """

    def __init__(self, folder, kernels):
        self.folder = folder
        self.register = folder / "kernels"
        self.log = folder / "wstpserver.log"
        self.mark = f"WSTP_TEST_{uuid.uuid4().hex}"
        self.kernel = make_kernel(folder, register=os.fspath(self.register))
        self.configure(kernels)
        self._write_supervisor_configuration()
        self.process = None
        self.port = None

    def configure(self, kernels):
        """Write the server's configuration with this number of kernels."""
        keys = {"MinimumKernelNumber": kernels, "ReservePreviouslyConnectedKernels": False}
        pool = {"KernelPath": self.kernel, **keys}
        # The next server has another port, and takes over no kernel of this one.
        configuration = {"KernelsOutliveServer": 0, "Pools": {"P": pool}}
        (self.folder / "wstpserver.conf").write_text(json.dumps(configuration))

    def _write_supervisor_configuration(self):
        sample = configparser.ConfigParser(interpolation=None)
        sample.read(SAMPLE)
        program = sample["program:wstpserver"]
        words = program["command"].split()[1:]
        words[words.index("--configuration-file") + 1] = os.fspath(self.folder / "wstpserver.conf")
        program["command"] = " ".join([sys.executable, "-m", "wstpserver", *words, "--port", "0"])
        program["environment"] = f'HOME="{self.folder}",PYTHONPATH="{ROOT}",{self.mark}="1"'
        program["directory"] = os.fspath(self.folder)
        program["stdout_logfile"] = os.fspath(self.log)
        del program["user"]
        daemon = sample["supervisord"]
        daemon.update({"logfile": f"{self.folder}/supervisord.log", "pidfile": f"{self.folder}/supervisord.pid"})
        daemon.update({"nodaemon": "true", "minfds": "256", "directory": os.fspath(self.folder)})
        sample["unix_http_server"]["file"] = f"{self.folder}/s"
        sample["supervisorctl"]["serverurl"] = f"unix://{self.folder}/s"
        with open(self.folder / "supervisord.conf", "w") as file:
            sample.write(file)

    def __enter__(self):
        self.process = subprocess.Popen(
            [PROGRAMS / "supervisord", "-c", self.folder / "supervisord.conf"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder,
        )  # fmt: skip
        return self

    def __exit__(self, kind, *_):
        try:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)
            left = processes.marked(self.mark)
            assert kind is not None or not left
        finally:
            for pid in processes.marked(self.mark):
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
            if kind is not None and self.log.exists():
                print(f"---- log of the server ----\n{self.log.read_text()}")

    def control(self, *words):
        """Run supervisorctl; its output."""
        command = [PROGRAMS / "supervisorctl", "-c", self.folder / "supervisord.conf", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def _ask(self, method):
        """What supervisord answers to a method that has the name of the program."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(serverurl=f"unix://{self.folder}/s")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)("wstpserver")

    def status(self):
        """What supervisord says of the server: its state and its process id, 0 if it has none."""
        found = self._ask("getProcessInfo")
        return found["statename"], found["pid"]

    def begin(self):
        """Have the server run with one kernel in its configuration, whatever the test before has done to it."""
        self.configure(kernels=1)
        if self.port is None:
            self.wait_for_status("RUNNING")
            self.port = self.wait_for_port()
        elif self.status()[0] != "RUNNING":
            start = self.log.stat().st_size
            self._ask("startProcess")
            self.port = self.wait_for_port(start)

    def wait_for_status(self, *states):
        """The server's process id, when supervisord says that it is in one of these states."""

        def reached():
            try:
                found = self.status()
            except OSError:  # it does not listen yet
                return None
            return found if found[0] in states else None

        return wait_for(reached, 60, f"status {states}", 0.05)[1]

    def wait_for_port(self, start=0):
        """The port of the start that logs behind the offset `start`."""

        def port():
            return LISTENING.search(self.log.read_text()[start:]) if self.log.exists() else None

        return int(wait_for(port, 60, "listening")[1])

    def restarts(self):
        """How often the server was restarted by a signal."""
        return self.log.read_text().count("Restarted with")

    def kernels(self):
        """Process ids of the kernels that run, in the order of their starts."""
        started = [int(line) for line in self.register.read_text().split()] if self.register.exists() else []
        return [pid for pid in started if processes.alive(pid)]

    def wait_for_kernels(self, number):
        return wait_for(lambda: self.kernels() if len(self.kernels()) >= number else None, 60, f"{number} kernels")


@pytest.fixture(scope="module")
def _supervised(tmp_path_factory):
    with Supervised(tmp_path_factory.mktemp("supervised"), kernels=1) as running:
        yield running


@pytest.fixture
def supervised(_supervised):
    _supervised.begin()
    return _supervised


def test_it_is_running_and_stopping_leaves_nothing(supervised):
    pid = supervised.wait_for_status("RUNNING")
    assert re.match(rf"wstpserver +RUNNING +pid {pid}", supervised.control("status"))
    with rawlink.connect(supervised.port) as link:
        assert prompt(link)[0] == "InputNamePacket"
    kernels = supervised.wait_for_kernels(1)
    assert "stopped" in supervised.control("stop", "wstpserver")
    assert supervised.wait_for_status("STOPPED") == 0
    for process in [pid, *kernels]:
        wait_gone(process)
    assert processes.marked(supervised.mark) == []


def test_a_crash_is_restarted_without_a_kernel_of_the_old_server(supervised):
    pid = supervised.wait_for_status("RUNNING")
    old = supervised.wait_for_kernels(1)
    size = supervised.log.stat().st_size
    os.kill(pid, signal.SIGKILL)
    for process in old:
        wait_gone(process)
    supervised.port = supervised.wait_for_port(size)
    assert supervised.wait_for_status("RUNNING") != pid
    with rawlink.connect(supervised.port) as link:
        assert prompt(link)[0] == "InputNamePacket"


def test_a_restart_by_signal_keeps_the_process_its_kernels_and_its_clients(supervised):
    pid = supervised.wait_for_status("RUNNING")
    with rawlink.connect(supervised.port) as link:
        assert prompt(link)[0] == "InputNamePacket"
        kernel, before = link.evaluate(Function("KernelProcess")), supervised.restarts()
        for number in (1, 2):
            assert "signalled" in supervised.control("signal", "USR2", "wstpserver")

            def restarted(number=number):
                assert supervised.status() == ("RUNNING", pid), "all the time"
                return supervised.restarts() >= before + number

            wait_for(restarted, 60, f"{number} restarts", 0.02)
            assert supervised.wait_for_status("RUNNING") == pid
            assert link.evaluate(Function("KernelProcess")) == kernel


def test_a_wrong_configuration_is_not_tried_again_and_again(supervised):
    size = supervised.log.stat().st_size
    (supervised.folder / "wstpserver.conf").write_text('{"Pools":')
    supervised.control("restart", "wstpserver")
    # FATAL if it ended before it counted as running, else EXITED with an expected code; both are final.
    supervised.wait_for_status("FATAL", "EXITED")
    assert "the file ends here" in supervised.log.read_text()[size:]


def test_a_hangup_reloads(supervised):
    pid = supervised.wait_for_status("RUNNING")
    with rawlink.connect(supervised.port) as link:
        assert prompt(link)[0] == "InputNamePacket"
        before = supervised.wait_for_kernels(1)
        supervised.configure(kernels=3)
        assert "signalled" in supervised.control("signal", "HUP", "wstpserver")
        after = supervised.wait_for_kernels(3)
        assert set(before) < set(after)
        assert supervised.wait_for_status("RUNNING") == pid
