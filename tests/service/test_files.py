"""The files for service managers: well-formed, and what they say fits the program."""

import configparser
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wstpserver.cli.serve import EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE, parse

SERVICE = Path(__file__).parents[2] / "tools" / "service"

#: Evaluations may go on for 10 s, and closing kernels takes up to 5 s more.
LONGEST_STOP = 15


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(SERVICE / "wstpserver.service")
    return parser


def supervisor():
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(" ;",))
    parser.read(SERVICE / "supervisord.conf")
    return parser


def plist():
    return plistlib.loads((SERVICE / "org.wstpserver.wstpserver.plist").read_bytes())


@pytest.mark.parametrize(
    "command",
    [
        supervisor()["program:wstpserver"]["command"],
        unit()["Service"]["ExecStart"],
        shlex.join(plist()["ProgramArguments"]),
    ],
    ids=["supervisord", "systemd", "launchd"],
)
def test_the_program_is_called_with_options_that_it_has(command):
    program, *words = shlex.split(command)
    assert Path(program).is_absolute() and Path(program).name == "wstpserver"
    assert parse(words)["--interface"] == "localhost"


def test_supervisord_does_not_restart_what_a_person_must_repair():
    program = supervisor()["program:wstpserver"]
    assert program["autorestart"] == "unexpected"
    assert [int(code) for code in program["exitcodes"].split(",")] == [EXIT_OK, EXIT_USAGE, EXIT_CONFIGURATION]


def test_systemd_does_not_restart_what_a_person_must_repair():
    service = unit()["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == [str(EXIT_USAGE), str(EXIT_CONFIGURATION)]
    assert service["Type"] == "notify"


def test_every_manager_waits_long_enough_for_the_end():
    assert int(supervisor()["program:wstpserver"]["stopwaitsecs"]) > LONGEST_STOP
    assert int(unit()["Service"]["TimeoutStopSec"]) > LONGEST_STOP
    assert plist()["ExitTimeOut"] > LONGEST_STOP


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    text = (SERVICE / "wstpserver.service").read_text()
    path = tmp_path / "wstpserver.service"
    path.write_text(text.replace("/usr/local/bin/wstpserver", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "wstpserver.service" in line]
    assert complaints == []


def test_the_label_is_the_name_of_the_file():
    assert plist()["Label"] == "org.wstpserver.wstpserver"


FILES = ["wstpserver.service", "supervisord.conf", "org.wstpserver.wstpserver.plist"]


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_how_to_install_what_it_needs(name):
    text = (SERVICE / name).read_text()
    for step in ("-m venv", "pip install", "/usr/local/bin/wstpserver", "docs/install.md"):
        assert step in text
    assert ("useradd" in text) == ("user=" in text.lower()), "whoever names an account says how to make it"


def test_supervisord_starts_where_few_files_may_be_open(tmp_path):
    """As in most containers and accounts, where the hard limit is far below 65536."""
    supervisord = shutil.which("supervisord", path=Path(sys.executable).parent)
    if supervisord is None:
        pytest.skip("needs supervisord")
    text = (SERVICE / "supervisord.conf").read_text()
    server = "\n".join(line for line in text.partition("[supervisord]")[2].partition("[unix")[0].splitlines())
    files = {"/var/log/supervisord.log": "log", "/run/supervisord.pid": "pid"}
    for place, name in files.items():
        server = server.replace(place, str(tmp_path / name))
    ended = "[eventlistener:end]\nevents=SUPERVISOR_STATE_CHANGE_RUNNING\ncommand=sh -c 'kill $PPID'\n"
    (tmp_path / "conf").write_text(f"[supervisord]{server}\n{ended}")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -Sn 1024; ulimit -Hn 1024; exec "$@"', "sh", supervisord, "-n", "-c", tmp_path / "conf"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "supervisord started with pid" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
