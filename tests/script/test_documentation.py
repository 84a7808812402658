"""docs/wstpscript.md and the help text say what the program has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wstpserver.cli.completion import options_in
from wstpserver.cli.script.main import DOCUMENT
from wstpserver.cli.terminal import ExitCode

PAGE = (Path(__file__).parents[2] / "docs" / "wstpscript.md").read_text()

#: Those of the other programs.
OTHERS = {ExitCode.TIMED_OUT, ExitCode.INTERNAL, ExitCode.CONFIGURATION}


@pytest.mark.parametrize("option", options_in(DOCUMENT), ids=lambda option: option.words[-1])
def test_every_option_is_explained(option):
    assert all(re.search(rf"`{word}[` ]", PAGE) for word in option.words)


@pytest.mark.parametrize("code", [int(code) for code in ExitCode if code not in OTHERS])
def test_every_exit_status_is_explained(code):
    table = PAGE[PAGE.index("| exit status |") : PAGE.index("## Scripts")]
    assert re.search(rf"\| ([\d, ]*\b)?{code}\b", table)
    assert re.search(rf"\b{code}\b", DOCUMENT[DOCUMENT.index("Exit status:") :])


def test_lines_fit():
    assert max(map(len, DOCUMENT.splitlines())) <= 120
