"""tools/run: what it checks before it installs, what it installs, and where the server runs.

The Python that it is given is a script that records what it is asked for: nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Answers as Python does; `-m venv` and `-m pip` are recorded and make what the real ones would make.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
    "-m venv .venv")
        echo "venv" >> "$RECORD"
        mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip "*)
        echo "$*" >> "$RECORD"
        printf '#!/bin/sh\\nprintf "%%s\\\\n" "$PWD" "$@"\\n' > .venv/bin/wstpserver && chmod +x .venv/bin/wstpserver ;;
    "-m wstpserver.settings.discovery")
        [ -n "$KERNEL" ] ;;
    *)
        exec "$REAL" "$@" ;;
esac
"""


class Clone:
    """A clone of the project with the fake Python."""

    def __init__(self, folder):
        self.folder = folder / "clone"
        self.caller = folder / "caller"
        self.caller.mkdir()
        self.record = folder / "record"
        self.python = folder / "python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)
        for name in ("tools/run", "tools/environment", "setup.py", "pyproject.toml", "wstpserver/version.py"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        shutil.copytree(ROOT / "cext", self.folder / "cext", ignore=shutil.ignore_patterns("*.o", "*.so"))
        self.environment = {
            "PATH": os.environ["PATH"], "PYTHON": str(self.python), "REAL": sys.executable, "RECORD": str(self.record),
        }  # fmt: skip

    def run(self, *words, **environment):
        return subprocess.run(
            [self.folder / "tools" / "run", *words],
            cwd=self.caller, env=self.environment | environment, capture_output=True, text=True,
        )  # fmt: skip

    def asked_for(self):
        """What venv and pip were asked for since the last call."""
        found = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return [line.rpartition(" ")[2] for line in found]


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_the_server_runs_in_the_folder_of_the_caller(clone):
    done = clone.run("--port", "0", "a b")
    assert (done.returncode, done.stdout.splitlines()) == (0, [str(clone.caller), "--port", "0", "a b"])


@pytest.mark.parametrize(
    ("environment", "extras"),
    [
        ({"KERNEL": "yes"}, ".[progress,repl]"),
        ({}, ".[mathics,progress,repl]"),
        ({"KERNEL": "yes", "WSTPSERVER_EMBEDDED": "1"}, ".[mathics,progress,repl]"),
    ],
)
def test_what_is_installed(clone, environment, extras):
    assert clone.run(**environment).returncode == 0
    assert clone.asked_for() == ["venv", extras]


def test_starting_again_installs_nothing(clone):
    clone.run()
    clone.asked_for()
    assert clone.run().returncode == 0
    assert clone.run(KERNEL="yes").returncode == 0, "fewer extras than installed"
    assert clone.asked_for() == []


def test_further_extras_are_added_to_those_that_are_installed(clone):
    clone.run(KERNEL="yes")
    clone.asked_for()
    clone.run()
    assert clone.asked_for() == [".[mathics,progress,repl]"]


def test_a_changed_build_file_installs_again(clone):
    clone.run()
    clone.asked_for()
    with open(clone.folder / "pyproject.toml", "a") as file:
        file.write("# changed\n")
    clone.run()
    assert clone.asked_for() == [".[mathics,progress,repl]"]


@pytest.mark.parametrize("compiler", ["no-such-compiler", "no-such-compiler -pthread"])
def test_a_missing_compiler_is_told_before_anything_is_downloaded(clone, compiler):
    done = clone.run(CC=compiler)
    assert done.returncode == 1
    assert "a C compiler is needed (no-such-compiler is not on PATH)" in done.stderr
    assert clone.asked_for() == []


def test_missing_headers_are_told_before_anything_is_downloaded(clone, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    done = clone.run(CC=str(compiler))
    assert done.returncode == 1
    assert "no Python.h in " in done.stderr
    assert clone.asked_for() == []


def test_an_old_python_is_told_before_anything_is_downloaded(clone, tmp_path):
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = clone.run(PYTHON=str(old))
    assert done.returncode == 1
    assert "Python 3.10 or newer is needed" in done.stderr
