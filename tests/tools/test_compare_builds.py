"""Two builds of the server in one comparison: which figures count as worse, and a short run of the program."""
import json
import os
import subprocess
import sys

import pytest

from tools.bench.compare import builds
from tools.bench.compare.report import update
from tools.harness.server import ROOT


def sitting(*rounds, column="p50"):
    """The table of a sitting, with (old, old again, new) of each round."""
    names = builds.OLD, builds.AGAIN, builds.NEW
    taken = [{name: {column: figure, "count": 7} for name, figure in zip(names, one, strict=True)} for one in rounds]
    return {"light trivial": {"title": "A trivial evaluation", "rounds": taken}}


def judged(*sittings, column="p50"):
    """The row of sittings with one round each."""
    (row,) = builds.compare([sitting(figures, column=column) for figures in sittings])
    return row


def test_ratios_of_each_sitting():
    row = judged((10.0, 11.0, 12.0), (20.0, 18.0, 21.0), (10.0, 10.0, 10.0))
    assert row["new / old"] == pytest.approx([1.2, 1.05, 1.0])
    assert row["old / old"] == pytest.approx([1.1, 0.9, 1.0])
    assert (row["title"], row["column"], row["old"], row["new"]) == ("A trivial evaluation", "p50", 10.0, 12.0)


def test_ratios_are_taken_round_by_round():
    # The machine becomes three times as slow; the medians of both builds would say 0.6.
    (row,) = builds.compare([sitting((10.0, 10.0, 11.0), (30.0, 31.5, 33.0), (30.0, 28.0, 18.0))])
    assert row["new / old"] == pytest.approx([1.1])
    assert row["old / old"] == pytest.approx([1.0])
    assert (row["old"], row["new"]) == (30.0, 18.0)


@pytest.mark.parametrize(
    ("old", "again", "new", "column", "worse"),
    [
        (10.0, 10.3, 10.2, "p50", False),  # slower by less than the old build differs from itself
        (10.0, 10.1, 10.2, "p50", True),
        (10.0, 9.0, 10.2, "p50", False),
        (10.0, 12.0, 10.6, "p50", True),  # a median may be worse by 5 % at most
        (10.0, 12.0, 10.6, "p99", False),
        (10.0, 10.1, 9.0, "p50", False),
        (10.0, 10.1, 9.0, "per second", True),  # here less is worse
        (10.0, 10.1, 11.0, "per second", False),
        (10.0, 9.8, 9.7, "per second", True),  # the old build differs from itself by 2 %
        (10.0, 9.6, 9.7, "per second", False),
    ],
)
def test_what_is_worse(old, again, new, column, worse):
    assert judged((old, again, new), column=column)["worse"] is worse


def test_how_far_the_old_build_differs_from_itself_is_an_interval():
    narrow, wide = [0.9, 1.01, 1.0, 1.0, 1.0, 1.0, 1.0, 1.02, 1.2], [0.9, 0.96, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert judged(*((1.0, again, 1.03) for again in narrow))["worse"]
    assert not judged(*((1.0, again, 1.03) for again in wide))["worse"]


def test_what_may_as_well_be_faster_is_not_worse():
    assert judged(*((1.0, 1.0, new) for new in (0.9, 1.01, 1.02, 1.06, 1.08, 1.1, 1.1, 1.1, 1.2)))["worse"]
    assert not judged(*((1.0, 1.0, new) for new in (0.9, 0.99, 1.02, 1.06, 1.08, 1.1, 1.1, 1.1, 1.2)))["worse"]


def test_a_figure_that_one_way_lacks_is_left_out():
    tables = sitting((1.0, 1.0, 1.0))
    del tables["light trivial"]["rounds"][0][builds.AGAIN]
    assert builds.compare([tables]) == []
    assert builds.compare([sitting((0.0, 0.0, 0.0))]) == []
    assert builds.compare([sitting((1.0, 1.0, 1.0), column="resident MB")]) == []


def test_another_one_begins_in_each_sitting():
    ways = dict.fromkeys("abc")
    assert [list(builds.in_order(ways, number)) for number in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


def test_a_page_gets_the_table_and_keeps_all_others(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- builds -->\n<!-- end -->\n<!-- targets -->\nkept\n<!-- end -->\n")
    machine = {"processor": "P", "processors": 2, "memory GB": 1, "system": "S"}
    document = {"builds": builds.compare([sitting((10.0, 10.0, 10.0))]), "sittings": 1, "date": "D", "machine": machine,
                "versions": {}, "load average": [0.0], "skipped": {}, "tables": {}}  # fmt: skip
    update(page, document)
    assert "| A trivial evaluation: p50 | 10 | 10 | 1.000 | 1.000 to 1.000 |" in page.read_text()
    assert "kept" in page.read_text()


def compare(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "tools.bench.compare", *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=100, **options)  # fmt: skip


def test_a_build_against_itself():
    pin = ["--pin"] if len(os.sched_getaffinity(0)) > 1 else []
    measures = "latency,memory"
    done = compare("--other", str(ROOT), "--trial", "--sittings", "1", "--measures", measures, "--json", *pin)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["sittings"] == 1
    found = {(row["title"], row["column"]): row for row in document["builds"]}
    row = found["A trivial evaluation, µs", "p50"]
    assert row["old"] > 0 and row["new"] > 0 and len(row["new / old"]) == len(row["old / old"]) == 1
    assert ("Clients that do nothing", "KiB each") in found


def test_pinning_needs_two_processors():
    one = min(os.sched_getaffinity(0))
    done = compare("--other", str(ROOT), "--pin", preexec_fn=lambda: os.sched_setaffinity(0, {one}))
    assert done.returncode == 2
    assert "--pin needs two processors" in done.stderr


def test_a_folder_that_is_no_checkout(tmp_path):
    done = compare("--other", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} is no checkout of wstpserver" in done.stderr
    (tmp_path / "wstpserver").mkdir()
    (tmp_path / "wstpserver" / "__main__.py").touch()
    assert "has no C module" in compare("--other", str(tmp_path)).stderr
