"""The inputs of earlier sessions."""

import json
import stat

from wstpserver.cli.script.reader import HISTORY_LENGTH, InputHistory


def test_inputs_come_back(tmp_path):
    path = tmp_path / "folder" / "history"
    history = InputHistory(path)
    assert history.entries == []
    assert history.append("1 + 1")
    assert history.append("f[\n x]")
    assert not history.append("f[\n x]"), "the same twice in a row is remembered once"
    assert InputHistory(path).entries == ["1 + 1", "f[\n x]"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_does_not_grow_for_ever(tmp_path):
    path = tmp_path / "history"
    path.write_text("".join(json.dumps(str(number)) + "\n" for number in range(2 * HISTORY_LENGTH)))
    assert InputHistory(path).entries == [str(number) for number in range(HISTORY_LENGTH, 2 * HISTORY_LENGTH)]
    assert len(path.read_text().splitlines()) == HISTORY_LENGTH


def test_what_is_no_entry_is_passed_over(tmp_path):
    path = tmp_path / "history"
    path.write_bytes(b'"a"\n\xff\nnot json\n3\n""\n"b"\n')
    assert InputHistory(path).entries == ["a", "b"]


def test_a_file_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    history = InputHistory(tmp_path / "file" / "history")
    assert history.append("x")
    assert history.entries == ["x"]
    assert InputHistory(None).append("y")
