"""The progress bar."""

import sys

import pytest

from tests.client.helpers import PROMPT
from wstpserver.client.parallel import KernelExecutor


def test_counts_what_is_done(served, capsys):
    pytest.importorskip("tqdm")
    with served.executor(2) as executor:
        assert list(executor.map("Plus", range(30), progress=True)) == list(range(30))
        assert list(executor.map("Plus", iter(range(7)), progress=True)) == list(range(7))
    shown = capsys.readouterr().err
    assert "30/30" in shown
    assert "7item" in shown, "of an unknown number"


def test_is_closed_with_the_results(served, capsys):
    pytest.importorskip("tqdm")
    with served.executor(2) as executor:
        results = executor.map("Plus", range(30), progress=True)
        assert next(results) == 0
        results.close()
        assert executor.submit("Plus", 1, 1).result(PROMPT) == 2
    assert capsys.readouterr().err.endswith("\n")


def test_without_tqdm(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with KernelExecutor(served.address, 1) as executor:
        with pytest.raises(ImportError, match="pip install tqdm"):
            executor.map("Plus", [1], progress=True)
        assert list(executor.map("Plus", [1])) == [1]
