"""Reading scripts: what is no text says in which line."""

import io
from types import SimpleNamespace

import pytest

from wstpserver.cli.options import UsageError
from wstpserver.cli.script.program import read_source


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"1 + 1\n", "1 + 1\n"),
        (b"", ""),
        (b"\xef\xbb\xbf\xc3\xbc", "ü"),
        (b"#!/usr/bin/env wstpscript\n2\n", "\n2\n"),
        (b"#!/usr/bin/env wstpscript", ""),
        (b"\xef\xbb\xbf#!x\r\n3", "\n3"),
    ],
)
def test_text(tmp_path, data, text):
    (tmp_path / "s.wl").write_bytes(data)
    assert read_source(str(tmp_path / "s.wl")) == text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a\nb\n\xff", r"s\.wl: line 3 is not UTF-8 \(invalid start byte\)"),
        (b"a\nb\xc3", r"s\.wl: line 2 is not UTF-8 \(unexpected end of data\)"),
        (b"\x7fELF\n\0", r"s\.wl: it is not text \(a zero byte in line 2\)"),
    ],
)
def test_no_text(tmp_path, data, says):
    (tmp_path / "s.wl").write_bytes(data)
    with pytest.raises(UsageError, match=says):
        read_source(str(tmp_path / "s.wl"))


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_source(str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="Is a directory"):
        read_source(str(tmp_path))


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"1\n\xfe")))
    with pytest.raises(UsageError, match="cannot read standard input: line 2 is not UTF-8"):
        read_source("-")
