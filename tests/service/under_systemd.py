"""The server under a systemd of its own: run by test_systemd.py as root, in namespaces of processes and mounts.

    python -m tests.service.under_systemd FOLDER    prints what systemd and a client saw, as JSON
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.serving import kernel_id, kernel_process, reconnect
from tools.harness import processes, rawlink
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import LISTENING, ROOT, free_ports
from tools.harness.waiting import wait_for

UNIT = "wstpserver.service"

#: Lines of the unit that a systemd of a user in a container cannot do, or that name what is not there.
NOT_HERE = re.compile(
    r"^(User|WorkingDirectory|NoNewPrivileges|Protect\w+|Restrict\w+|LimitNOFILE|TasksMax)=.*\n", re.MULTILINE
)


def begin(folder):
    """Start systemd; it believes that it has booted the machine."""
    for words in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "tmpfs", "/run"]):
        subprocess.run(words, check=True)
    os.makedirs("/run/systemd/system")
    for name in ("run", "config"):
        (folder / name).mkdir(mode=0o700)
    bus = f"unix:path={folder}/run/bus"
    os.environ |= {"HOME": str(folder), "XDG_RUNTIME_DIR": f"{folder}/run", "XDG_CONFIG_HOME": f"{folder}/config"}
    os.environ["DBUS_SESSION_BUS_ADDRESS"] = bus
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(["dbus-daemon", "--session", f"--address={bus}", "--nofork", "--nopidfile"], **quiet)
    subprocess.Popen(["/lib/systemd/systemd", "--user"], **quiet)
    wait_for(lambda: control("is-system-running") in ("running", "degraded"), 60, "systemd to run", interval=0.05)


def control(*words):
    done = subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip()


def show():
    """What systemd says of the service."""
    lines = control("show", UNIT, "-p", "MainPID,ActiveState,NRestarts,StatusText").splitlines()
    return dict(line.split("=", 1) for line in lines)


def write_unit(folder):
    """The unit of tools/service, with the programs of this tree."""
    configuration = {"Pools": {"P": {"KernelPath": make_kernel(folder), "MaximumKernelNumber": 4}}}
    (folder / "c.conf").write_text(json.dumps(configuration))
    (port,) = free_ports()
    text = NOT_HERE.sub("", (ROOT / "tools" / "service" / UNIT).read_text())
    command = f"{sys.executable} -m wstpserver -p {port} --interface 127.0.0.1 --configuration-file {folder}/c.conf"
    text = re.sub("^ExecStart=.*", f"ExecStart={command} --log-file {folder}/log", text, flags=re.MULTILINE)
    text = text.replace("RestartSec=5", "RestartSec=0.1")
    text = text.replace("[Service]\n", f"[Service]\nEnvironment=PYTHONPATH={ROOT}\n")
    path = folder / "config" / "systemd" / "user" / UNIT
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return port


def serve(folder, port):
    """What is seen of a start, a planned restart, a crash and a stop."""
    log = folder / "log"
    control("daemon-reload")
    seen = {"start": (control("start", UNIT), show())}
    link = rawlink.connect(port)
    assert link.get_packet()[0] == "InputNamePacket"
    identifier, process = kernel_id(link), kernel_process(link)
    link.evaluate(Function("Set", Symbol("x"), 23))
    control("kill", "--kill-whom=main", "--signal=USR2", UNIT)
    states = set()
    while "Restarted with" not in log.read_text():
        states.add(show()["ActiveState"])
    wait_for(lambda: show()["ActiveState"] == "active", 60, "the reload to end")
    seen["restart"] = (sorted(states - {"reloading"}), show(), link.evaluate(Symbol("x")) == 23)
    os.kill(int(show()["MainPID"]), signal.SIGKILL)
    wait_for(lambda: len(LISTENING.findall(log.read_text())) == 3, 60, "the next server")
    wait_for(lambda: show()["ActiveState"] == "active", 60, "it to be active")
    link = rawlink.connect(port)
    assert link.get_packet()[0] == "InputNamePacket"
    reconnect(link, identifier)
    seen["crash"] = (show(), kernel_process(link) == process, link.evaluate(Symbol("x")) == 23)
    seen["stop"] = (control("stop", UNIT), show()["ActiveState"])
    wait_for(lambda: not processes.alive(process), 60, "the kernel to end")
    return seen


def main():
    folder = Path(sys.argv[1])
    begin(folder)
    print(json.dumps(serve(folder, write_unit(folder))))


if __name__ == "__main__":
    main()
