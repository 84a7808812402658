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
    """A supervisord with the program wstpserver; as context manager it ends both and checks that nothing is left."""

    def __init__(self, folder, kernels):
        self.folder = folder
        self.register = folder / "kernels"
        self.log = folder / "wstpserver.log"
        self.mark = f"WSTP_TEST_{uuid.uuid4().hex}"
        self.kernel = make_kernel(folder, register=os.fspath(self.register))
        self.configure(kernels)
        self._write_supervisor_configuration()
        self.process = None

    def configure(self, kernels):
        """Write the server's configuration with this number of kernels."""
        pool = {"KernelPath": self.kernel, "MinimumKernelNumber": kernels}
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

    def status(self):
        """What supervisord says of the server: its state and its process id, 0 if it has none."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(serverurl=f"unix://{self.folder}/s")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            found = proxy.supervisor.getProcessInfo("wstpserver")
        return found["statename"], found["pid"]

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
        """Process ids of all kernels that were ever started."""
        return [int(line) for line in self.register.read_text().split()] if self.register.exists() else []

    def wait_for_kernels(self, number):
        return wait_for(lambda: self.kernels() if len(self.kernels()) >= number else None, 60, f"{number} kernels")


@pytest.fixture
def supervised(tmp_path):
    with Supervised(tmp_path, kernels=1) as running:
        yield running


def test_it_is_running_and_stopping_leaves_nothing(supervised):
    pid = supervised.wait_for_status("RUNNING")
    assert re.match(rf"wstpserver +RUNNING +pid {pid}", supervised.control("status"))
    with rawlink.connect(supervised.wait_for_port()) as link:
        assert link.get_packet()[0] == "InputNamePacket"
    kernels = supervised.wait_for_kernels(1)
    assert "stopped" in supervised.control("stop", "wstpserver")
    assert supervised.wait_for_status("STOPPED") == 0
    for process in [pid, *kernels]:
        wait_gone(process)
    assert processes.marked(supervised.mark) == []


def test_a_crash_is_restarted_without_a_kernel_of_the_old_server(supervised):
    pid = supervised.wait_for_status("RUNNING")
    supervised.wait_for_port()
    old = supervised.wait_for_kernels(1)
    size = supervised.log.stat().st_size
    os.kill(pid, signal.SIGKILL)
    for process in old:
        wait_gone(process)
    port = supervised.wait_for_port(size)
    assert supervised.wait_for_status("RUNNING") != pid
    with rawlink.connect(port) as link:
        assert link.get_packet()[0] == "InputNamePacket"


def test_a_restart_by_signal_keeps_the_process_its_kernels_and_its_clients(supervised):
    pid = supervised.wait_for_status("RUNNING")
    with rawlink.connect(supervised.wait_for_port()) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        before = supervised.wait_for_kernels(1)
        for number in (1, 2):
            assert "signalled" in supervised.control("signal", "USR2", "wstpserver")

            def restarted(number=number):
                assert supervised.status() == ("RUNNING", pid), "all the time"
                return supervised.restarts() >= number

            wait_for(restarted, 60, f"{number} restarts", 0.02)
            assert supervised.wait_for_status("RUNNING") == pid
            assert link.evaluate(Function("KernelProcess")) == before[0]
    assert "stopped" in supervised.control("stop", "wstpserver")


def test_a_wrong_configuration_is_not_tried_again_and_again(supervised):
    supervised.wait_for_status("RUNNING")
    supervised.wait_for_port()
    (supervised.folder / "wstpserver.conf").write_text('{"Pools":')
    supervised.control("restart", "wstpserver")
    # FATAL if it ended before it counted as running, else EXITED with an expected code; both are final.
    supervised.wait_for_status("FATAL", "EXITED")
    assert "the file ends here" in supervised.log.read_text()


def test_a_hangup_reloads(supervised):
    pid = supervised.wait_for_status("RUNNING")
    with rawlink.connect(supervised.wait_for_port()) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        before = supervised.wait_for_kernels(1)
        supervised.configure(kernels=3)
        assert "signalled" in supervised.control("signal", "HUP", "wstpserver")
        after = supervised.wait_for_kernels(3)
        assert after[0] == before[0] and processes.alive(before[0])
        assert supervised.wait_for_status("RUNNING") == pid
