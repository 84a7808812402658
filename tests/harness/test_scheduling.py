"""Which tests one worker runs, and in which order."""
from tests.support.cases import for_each
from tests.support.scheduling import LONGEST, TOGETHER, place, unit_of
from tools.harness.server import ROOT


@for_each(sorted({*LONGEST, *(file for unit in TOGETHER for file in unit)}))
def test_what_is_named_is_there(name):
    assert (ROOT / name).exists()


def test_files_that_share_something_are_one_unit():
    units = {unit_of(f"{file}::test_x[a::b]") for file in TOGETHER[0]}
    assert units == {TOGETHER[0][0]}
    assert unit_of("tests/scenarios/test_menu_taken_over.py::test_x") == unit_of("tests/script/test_shown.py::test_y")
    assert unit_of("tests/wire/test_texts.py::test_x[a::b]") == "tests/wire/test_texts.py"


def test_the_longest_come_first_and_the_others_stay_in_order():
    names = ["tests/wire/test_texts.py::a", "tests/admin/test_arguments.py::a", f"{LONGEST[1]}::a", f"{LONGEST[0]}::a"]
    assert sorted(names, key=place) == [names[3], names[2], names[0], names[1]]
