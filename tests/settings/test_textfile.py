"""Reading the text of a configuration file, whatever is behind its name."""

import os
import threading

import pytest

from wstpserver.settings.problems import ConfigurationError
from wstpserver.settings.textfile import MAXIMUM_SIZE, read_text


def failure(path):
    """The one problem of a file that cannot be read."""
    with pytest.raises(ConfigurationError) as caught:
        read_text(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return problem


def test_text_with_and_without_byte_order_mark(tmp_path):
    file = tmp_path / "f"
    file.write_bytes("größer\r\n".encode())
    assert read_text(file) == "größer\r\n"
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(file) == "{}"
    file.write_bytes(b"")
    assert read_text(file) == ""


def test_what_is_not_there(tmp_path):
    assert failure(tmp_path / "f").message == "No such file or directory"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in failure(tmp_path / "loop").message
    (tmp_path / "plain").touch()
    assert failure(tmp_path / "plain" / "f").message == "Not a directory"
    assert "null" in failure(tmp_path / "f\0g").message


def test_a_file_without_permission(tmp_path, permissions_count):
    file = tmp_path / "f"
    file.touch(mode=0)
    assert failure(file).message == "Permission denied"


def test_a_folder(tmp_path):
    assert failure(tmp_path).message == "is a folder, not a file"


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "f")
    found = []
    thread = threading.Thread(target=lambda: found.append(failure(tmp_path / "f").message), daemon=True)
    thread.start()
    thread.join(10)
    assert found == ["is a device or a pipe, not a file"]


@pytest.mark.parametrize("name", ["null", "zero", "full"])
def test_a_device(name):
    assert failure(f"/dev/{name}").message == "is a device or a pipe, not a file"


def test_a_file_of_100_megabytes_is_refused_unread(tmp_path):
    file = tmp_path / "f"
    with open(file, "wb") as handle:
        handle.truncate(100_000_000)
    assert failure(file).message == "has 100000000 bytes or more; a configuration file has at most 4194304"


def test_the_largest_file(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b" " * MAXIMUM_SIZE)
    assert len(read_text(file)) == MAXIMUM_SIZE
    file.write_bytes(b" " * (MAXIMUM_SIZE + 1))
    assert "at most" in failure(file).message


def test_binary_data(tmp_path):
    file = tmp_path / "f"
    file.write_bytes("{\né".encode() + b"\0}")
    problem = failure(file)
    assert (problem.line, problem.column, problem.message) == (2, 2, "is no text: it holds a NUL byte")
    file.write_bytes(b"\x7fELF\x02\x01\x01\0\0\0" + os.urandom(1000))
    assert failure(file).line is not None


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_another_encoding(tmp_path, mark):
    file = tmp_path / "f"
    file.write_bytes(mark + "{\n# é\n".encode() + b'"gr\xf6sser":1}')
    problem = failure(file)
    assert (problem.line, problem.column, problem.message) == (3, 4, "byte 0xf6 is not UTF-8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16(tmp_path, encoding):
    file = tmp_path / "f"
    file.write_text("\ufeff{}" if encoding != "utf-16" else "{}", encoding=encoding)
    assert failure(file).message == "is written in UTF-16; save it as UTF-8"
