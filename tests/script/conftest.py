"""What the tests of wstpscript share."""

from __future__ import annotations

import pytest

from tests.script.helpers import without_waiting
from wstpserver.cli.script.main import main


@pytest.fixture
def complains(capfd):
    """complains(word, ...) -> (exit status, the line on stderr); nothing but that line is shown."""

    def run(*words):
        status = main(words)
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = without_waiting(err).removesuffix("Try 'wstpscript -help'.\n").splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("wstpscript: ")
        return status, lines[0]

    return run
