"""The latency program: its ways are measured, and it leaves nothing running."""
import json
import os
import subprocess
import sys
import uuid

import pytest

from tests.support import processes
from tests.support.server import ROOT
from tests.support.waiting import wait_for
from tools.latency.legs import LEGS


def run(*arguments, mark):
    environment = {**os.environ, mark: "1"}
    return subprocess.run(
        [sys.executable, "-m", "tools.latency", "--light", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize("name", LEGS)
def test_measures_each_way(name):
    if lacks := LEGS[name].missing():
        pytest.skip(f"{lacks} is not installed")
    mark = f"WSTP_TEST_{uuid.uuid4().hex}"
    done = run("--legs", name, "--count", "60", "--round", "25", "--warm-up", "5", "--json", mark=mark)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["legs"][name]
    assert figures["count"] == 60
    assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["max"]
    wait_for(lambda: not processes.marked(mark), what="everything it started to end")


def test_table(tmp_path):
    done = run("--legs", "direct", "--count", "10", "--warm-up", "1", mark="WSTP_TEST_TABLE")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["count", "p50", "p90", "p99", "max"]
    assert done.stdout.splitlines()[2].split()[:2] == ["direct", "10"]


def test_unknown_way_is_refused():
    done = run("--legs", "carrier-pigeon", mark="WSTP_TEST_UNKNOWN")
    assert done.returncode == 2
    assert "carrier-pigeon" in done.stderr
