"""The soak: it judges what grows, and a short one finds nothing."""
import json
import signal
import subprocess
from importlib.util import find_spec

import pytest

from tools.bench.soak.__main__ import write
from tools.bench.soak.samples import judge
from tools.bench.soak.work import is_expected
from tools.harness.server import ROOT


def rows(values):
    return [{"seconds": float(number), "resident MB": value} for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "flat"),
    [([40.0] * 20, True), ([20.0] * 5 + [40.0] * 15, True), ([40.0 + number for number in range(20)], False),
     ([40.0, 41.0] * 10, True)],
)  # fmt: skip
def test_what_grows_once_is_flat_what_goes_on_is_not(values, flat):
    assert judge(rows(values))["resident MB"]["flat"] is flat


def test_a_set_of_strings_that_grows_is_seen():
    found = judge([{"seconds": float(number), "blocks": 300_000 + 700 * number} for number in range(40)])
    assert not found["blocks"]["flat"]


def test_too_few_samples_are_not_judged():
    assert judge(rows([1.0, 2.0])) == {}


@pytest.mark.parametrize(
    ("error", "expected"),
    [("evaluating: wrong answer: $Aborted", True), ("evaluating: the server closed the link", True),
     ("evaluating: wrong answer: 3 instead of 2", False), ("evaluating: wrong answer: no number", False),
     ("evaluating: wrong answer: another text", False), ("evaluating: no answer in time", False)],
)  # fmt: skip
def test_killed_kernels_excuse_what_they_cause_and_nothing_else(error, expected):
    """A kernel that is killed within an evaluation answers nothing any more; its client is told $Aborted."""
    assert is_expected(error) is expected


def test_a_short_one(tmp_path):
    done = subprocess.run(
        [ROOT / "tools" / "soak", "--minutes", "0.03", "--interval", "0.2", "--clients", "4", "--ready", "5", "--json",
         "--seed", "57"], capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert found["finished"]
    assert found["counts"]["answers"] > 0
    assert found["samples"][-1]["resident MB"] > 5
    assert all(row["greenlets"] and row["blocks"] > row["objects"] for row in found["samples"])
    page = tmp_path / "found.md"
    page.write_text("before\n<!-- soak -->\nold\n<!-- end -->\n")
    write(found, tmp_path / "found")
    assert json.loads((tmp_path / "found" / "soak.json").read_text()) == found
    assert "faults: none." in page.read_text() and "old" not in page.read_text()
    if find_spec("matplotlib"):
        assert (tmp_path / "found" / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_interrupted_it_tells_what_it_has():
    with subprocess.Popen(
        [ROOT / "tools" / "soak", "--minutes", "5", "--interval", "0.1", "--clients", "2", "--ready", "2", "--json",
         "--seed", "57"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert any("minutes left" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert output, errors
    found = json.loads(output)
    assert not found["finished"]
    assert found["samples"]
