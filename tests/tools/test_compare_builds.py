"""Two builds of the server in one comparison: which figures count as worse, and a short run of the program."""
import json
import subprocess
import sys

import pytest

from tools.bench.compare import builds
from tools.bench.compare.report import update
from tools.harness.server import ROOT


def sitting(old, again, new, column="p50"):
    rows = {builds.OLD: {column: old, "count": 7}, builds.AGAIN: {column: again, "count": 7},
            builds.NEW: {column: new, "count": 7}}  # fmt: skip
    return {"light trivial": {"title": "A trivial evaluation", "rows": rows}}


def judged(*sittings, column="p50"):
    (row,) = builds.compare([sitting(*figures, column=column) for figures in sittings])
    return row


def test_ratios_of_each_sitting():
    row = judged((10.0, 11.0, 12.0), (20.0, 18.0, 21.0), (10.0, 10.0, 10.0))
    assert row["new / old"] == pytest.approx([1.2, 1.05, 1.0])
    assert row["old / old"] == pytest.approx([1.1, 0.9, 1.0])
    assert (row["title"], row["column"], row["old"], row["new"]) == ("A trivial evaluation", "p50", 10.0, 12.0)


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
    ],
)
def test_what_is_worse(old, again, new, column, worse):
    assert judged((old, again, new), column=column)["worse"] is worse


def test_a_figure_that_one_way_lacks_is_left_out():
    tables = sitting(1.0, 1.0, 1.0)
    del tables["light trivial"]["rows"][builds.AGAIN]
    assert builds.compare([tables]) == []
    assert builds.compare([sitting(0.0, 0.0, 0.0)]) == []


def test_another_one_begins_in_each_sitting():
    ways = dict.fromkeys("abc")
    assert [list(builds.in_order(ways, number)) for number in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


def test_a_page_gets_the_table_and_keeps_all_others(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- builds -->\n<!-- end -->\n<!-- targets -->\nkept\n<!-- end -->\n")
    machine = {"processor": "P", "processors": 2, "memory GB": 1, "system": "S"}
    document = {"builds": builds.compare([sitting(10.0, 10.0, 10.0)]), "sittings": 1, "date": "D", "machine": machine,
                "versions": {}, "load average": [0.0], "skipped": {}, "tables": {}}  # fmt: skip
    update(page, document)
    assert "| A trivial evaluation: p50 | 10 | 10 | 1.000 | 1.00 to 1.00 |" in page.read_text()
    assert "kept" in page.read_text()


def compare(*arguments):
    return subprocess.run([sys.executable, "-m", "tools.bench.compare", *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=100)  # fmt: skip


def test_a_build_against_itself():
    done = compare("--other", str(ROOT), "--quick", "--sittings", "1", "--measures", "latency,memory", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["sittings"] == 1
    found = {(row["title"], row["column"]): row for row in document["builds"]}
    row = found["A trivial evaluation, µs", "p50"]
    assert row["old"] > 0 and row["new"] > 0 and len(row["new / old"]) == len(row["old / old"]) == 1
    assert ("Clients that do nothing", "resident MB") in found


def test_a_folder_that_is_no_checkout(tmp_path):
    done = compare("--other", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} is no checkout of wstpserver" in done.stderr
    (tmp_path / "wstpserver").mkdir()
    (tmp_path / "wstpserver" / "__main__.py").touch()
    assert "has no C module" in compare("--other", str(tmp_path)).stderr
