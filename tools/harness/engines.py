"""Engines that run programs elsewhere, started by tests in a folder of their own: a Slurm of two nodes, and an sshd."""
import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tools.harness import processes
from tools.harness.server import free_ports
from tools.harness.waiting import wait_for

SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "sinfo")
NODES = ("node1", "node2", "node3", "node4")
SSH_PROGRAMS = ("sshd", "ssh", "ssh-keygen")

_SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SchedulerTimeSlice=5
KillWait=2
MinJobAge=2
SlurmdTimeout=5
MessageTimeout=5
TCPTimeout=1
MpiDefault=none
SwitchType=switch/none
JobCompType=jobcomp/none
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs={processors} RealMemory=4000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs={processors} RealMemory=4000 State=UNKNOWN
NodeName=node3 NodeHostname={host} NodeAddr=127.0.0.1 Port={third} CPUs={processors} RealMemory=4000 State=UNKNOWN
NodeName=node4 NodeHostname={host} NodeAddr=127.0.0.1 Port={fourth} CPUs={processors} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
PartitionName=apart Nodes=node3,node4 Default=NO MaxTime=INFINITE State=UP
"""


def missing(programs):
    """Which of these programs this system does not have."""
    return [name for name in programs if find(name) is None]


def find(name):
    """The path of a program, also of one that only administrators have on PATH; None if there is none."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Daemon:
    """A process that serves in the foreground, with its output in a file."""

    def __init__(self, folder, *arguments, environment=None):
        self.arguments, self.environment = arguments, environment
        self.log = Path(folder) / f"{Path(arguments[0]).name}-{os.getpid()}-{id(self)}.out"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                [find(arguments[0]), *arguments[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, start_new_session=True, cwd=folder,
            )  # fmt: skip

    def kill(self):
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End it, by SIGKILL if it does not obey."""
        self.process.terminate()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.kill()


class Slurm:
    """slurmctld, slurmd for node1 and node2, and munged, as context manager. Programs run with `environment`.

    node3 and node4 are in a partition of their own (`-p apart`), for tests that do them harm.
    """

    def __init__(self, folder, processors=32):
        self.folder = Path(folder)
        self.processors = processors
        self.daemons = []
        self.nodes = {}
        self.environment = {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        folder = self.folder
        for name in ("state", *(f"spool-{node}" for node in NODES), "munge"):
            (folder / name).mkdir()
            (folder / name).chmod(0o755)
        key, socket_path = folder / "munge" / "munge.key", folder / "munge" / "munge.socket"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._serve(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket_path}",
            f"--pid-file={folder}/munge/pid", f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed",
        )  # fmt: skip
        wait_for(socket_path.exists, 60.0, self._logs)
        controller, first, second, third, fourth = free_ports(5)
        configuration = folder / "slurm.conf"
        configuration.write_text(_SLURM_CONF.format(
            controller=controller, first=first, second=second, third=third, fourth=fourth, munge=socket_path,
            folder=folder, user=getpass.getuser(), host=socket.gethostname(), processors=self.processors,
        ))  # fmt: skip
        # a PYTHONPATH of whoever runs the tests would take the place of the checkout's in a server that gets this
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.environment = {**own, "SLURM_CONF": str(configuration)}
        self._serve("slurmctld", "-D", "-c", "-f", str(configuration))
        for node in NODES:
            self.start_node(node)
        wait_for(self._is_ready, 120.0, self._logs, 0.1)

    def _is_ready(self):
        return self.run("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(NODES)

    def _serve(self, *arguments):
        daemon = Daemon(self.folder, *arguments, environment=self.environment or None)
        self.daemons.append(daemon)
        return daemon

    def start_node(self, node):
        """Start the slurmd of a node."""
        self.nodes[node] = self._serve("slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"))

    def run(self, *command):
        """The output of a command of Slurm."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60.0)
        return done.stdout

    def jobs(self):
        """The running and waiting jobs: name -> (number, state)."""
        lines = self.run("squeue", "-h", "-o", "%j|%i|%T").splitlines()
        return {name: (int(number), state) for name, number, state in (line.split("|") for line in lines)}

    def _logs(self):
        texts = [path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")]
        texts += [daemon.log.read_text(errors="replace")[-2000:] for daemon in self.daemons]
        return "Slurm does not work:\n" + "\n".join(texts)

    def __exit__(self, *_):
        if self.daemons[1:]:
            self.run("scancel", "--full", "-s", "KILL", "-u", getpass.getuser())
        for daemon in reversed(self.daemons):
            daemon.kill()
        left = [pid for pid in processes.marked(f"SLURM_CONF={self.folder}/") if pid != os.getpid()]
        signal_all(left)  # of a node that a test has killed


class SshServer:
    """An sshd on a free port with keys of its own, as context manager; `command` is an ssh that reaches it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.daemon = None
        self.command = []

    def __enter__(self):
        folder = self.folder
        for name in ("host", "user"):
            subprocess.run(
                [find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=30.0
            )
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        (port,) = free_ports(1)
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nPermitRootLogin yes\n"
            "MaxStartups 100\nSetEnv PATH=" + os.environ["PATH"] + "\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.daemon = Daemon(folder, "sshd", "-D", "-e", "-f", str(folder / "sshd_config"))
        (folder / "config").write_text(
            f"Host box\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentityFile {folder}/user\n"
            f"UserKnownHostsFile {folder}/known\nStrictHostKeyChecking no\nBatchMode yes\nLogLevel ERROR\n"
        )
        self.command = ["ssh", "-F", str(folder / "config"), "box"]
        wait_for(lambda: subprocess.run([*self.command, "true"], capture_output=True).returncode == 0, 60.0,
                 lambda: self.daemon.log.read_text(), 0.05)  # fmt: skip
        return self

    def __exit__(self, *_):
        self.daemon.stop()


def interpreter():
    """`KernelAgent` for an interpreter that sees this checkout's wstpserver: the one that runs the tests."""
    return shlex.join([sys.executable, "-"])


def oldest_python():
    """The path of a Python 3.8, the oldest that the agent runs with: that of `PYTHON38`, or `python3.8`; None if there
    is none.
    """
    path = find(os.environ.get("PYTHON38") or "python3.8")
    version = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    if path is None:
        return None
    try:  # a stub of pyenv is there for each version that one folder or other may use
        said = subprocess.run([path, "-I", "-c", version], capture_output=True, text=True, timeout=60.0).stdout
    except OSError:
        return None
    return path if said == "3.8" else None


def signal_all(pids, number=signal.SIGKILL):
    """Send a signal to processes that may be gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
