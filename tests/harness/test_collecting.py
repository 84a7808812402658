"""Runs with workers in which one process collects for all; one worker shows it."""

import os
import subprocess
import sys

import pytest

from tools.harness.server import ROOT

#: Each import of the file, and each use of the fixtures, adds a line.
HEAD = """
import os, pathlib, pytest

def note(text):
    with open(pathlib.Path(__file__).parents[{up}] / "notes", "a") as notes:
        notes.write(text + "\\n")
"""
CONFTEST = (
    HEAD.format(up=0)
    + """
@pytest.fixture(scope="package")
def shared(worker_id):
    note(f"shared of {worker_id}")
    yield 7
    note(f"end of shared of {worker_id}")
"""
)
ONE = (
    HEAD.format(up=1)
    + """
note(f"import of one by {os.environ.get('PYTEST_XDIST_WORKER')}")
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["LEFT_BEHIND"] = "1"

@pytest.fixture(scope="module")
def of_module():
    note("of_module")
    yield
    note("end of of_module")

@pytest.mark.parametrize("number", [1, 2], ids=["a::b", "äö"])
def test_number(shared, of_module, number):
    assert number * shared == 7

class TestClass:
    def test_method(self, of_module):
        pass

def test_deselected():
    assert False
"""
)
OTHER = """
import os

def test_there_is_nothing_left_behind(shared):
    assert "LEFT_BEHIND" not in os.environ

def test_skip():
    import pytest
    pytest.skip("why not")
"""


@pytest.fixture
def run(tmp_path):
    """run(*arguments): pytest with a worker in a folder with the package `inner` and a file beside it."""
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    (tmp_path / "tests" / "inner").mkdir(parents=True)
    files = {"inner/__init__.py": "", "conftest.py": CONFTEST, "inner/test_one.py": ONE, "test_other.py": OTHER}
    for name, text in files.items():
        (tmp_path / "tests" / name).write_text(text, encoding="utf-8")

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-p", "tests.support.collecting", "-n", "1", "--dist", "loadfile"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        return subprocess.run(
            [*command, "-p", "no:cacheprovider", "-rA", *arguments], cwd=tmp_path, capture_output=True, text=True,
            env=environment | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        )  # fmt: skip

    return run


def test_a_worker_imports_the_files_that_it_runs(run, tmp_path):
    done = run("-k", "not deselected")
    assert done.returncode == 1, done.stdout + done.stderr
    results = {line for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "SKIPPED"))}
    assert {line.split(" - ")[0] for line in results} == {
        "PASSED tests/inner/test_one.py::test_number[a::b]", r"FAILED tests/inner/test_one.py::test_number[\xe4\xf6]",
        "PASSED tests/inner/test_one.py::TestClass::test_method",
        "PASSED tests/test_other.py::test_there_is_nothing_left_behind",
        "SKIPPED [1] tests/test_other.py:9: why not",
    }  # fmt: skip
    notes = (tmp_path / "tests" / "notes").read_text().splitlines()
    assert notes == [
        "import of one by None", "import of one by gw0", "shared of gw0", "of_module", "end of of_module",
        "end of shared of gw0",
    ]  # fmt: skip


def test_a_file_that_cannot_be_collected_ends_the_run(run, tmp_path):
    (tmp_path / "tests" / "test_other.py").write_text("import nothing_of_this_name")
    done = run()
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "No module named 'nothing_of_this_name'" in done.stdout and "1 error" in done.stdout
    assert "import of one by gw" not in (tmp_path / "tests" / "notes").read_text()
