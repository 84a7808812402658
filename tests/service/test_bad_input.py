"""Configuration files and surroundings that are wrong, with the real program: what is said, and how it ends."""

import os
import re

import pytest

from tests.service.helpers import bare_server, failing, messages
from tests.support.kernels import make_kernel
from tests.support.serving import one_pool

LOOPBACK = ("--port", "0", "--interface", "127.0.0.1")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return os.fspath(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "1:1: "),
        (b"\x7fELF\x02\x01\x01\0\0\0", "1:8: is no text: it holds a NUL byte"),
        ('{"Pools":\n  {"P": {"KeepAlive": true', "2:"),
        ('{"Pools": {"P": {"KeepAlive": true, "KeepAlive": false}}}', '1:37: the key "KeepAlive" is given twice'),
        ('{"Pools": {"P": {"Default": true}, "Q": {"Default": true}}}', "Default"),
        ('{"Port": 65536, "Pools": {"P": {}}}', "1:10: Port"),
        ("[" * 100_000, "1:"),
    ],
    ids=["empty", "binary", "half", "key twice", "two defaults", "port", "deep"],
)
def test_a_file_that_is_wrong(tmp_path, content, reason):
    path = write(tmp_path / "bad.conf", content)
    with failing(tmp_path, None, *LOOPBACK, "-c", path) as server:
        assert server.wait_for_exit() == 78
        (error,) = messages(server.log, "Error")
    assert error.startswith("The configuration cannot be used:\n")
    assert reason in error and path in error


def test_a_hundred_megabytes(tmp_path):
    """Refused at once, without being read."""
    path = tmp_path / "huge.conf"
    with open(path, "wb") as file:
        file.write(b'{"Pools": {"P": {"InitializationCode": "')
        file.truncate(100_000_000)
    began = os.times().children_user
    with failing(tmp_path, None, *LOOPBACK, "-c", os.fspath(path)) as server:
        assert server.wait_for_exit() == 78
    assert os.times().children_user - began < 5
    (error,) = messages(server.log, "Error")
    assert error.endswith(f"{path}: has 100000000 bytes or more; a configuration file has at most 4194304")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("folder", "is a folder, not a file"), ("fifo", "is a device or a pipe"), ("missing", "No such file or directory"),
     ("loop", "symbolic link")],
)  # fmt: skip
def test_what_is_no_file(tmp_path, kind, reason):
    path = tmp_path / "bad.conf"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    with failing(tmp_path, None, *LOOPBACK, "-c", os.fspath(path)) as server:
        assert server.wait_for_exit() == 78
    assert reason in server.log


def test_a_wrong_file_in_the_search_is_reported_and_passed_over(tmp_path):
    """And the next one is used: the file in the application data folder."""
    write(tmp_path / "wstpserver.conf", '{"Pools": {"Here": {')
    folder = tmp_path / ".config" / "WSTPServer"
    folder.mkdir(parents=True)
    kernel = make_kernel(tmp_path)
    write(folder / "wstpserver.conf", f'{{"Pools": {{"There": {{"KernelPath": "{kernel}"}}}}}}')
    with bare_server(tmp_path, None, *LOOPBACK) as server:
        server.wait_for_log("Pool There is ready")
    warnings = "\n".join(messages(server.log, "Warning"))
    assert re.search(r"wstpserver\.conf:1:\d+: the file ends here", warnings)


def test_a_home_that_cannot_be_written_to(tmp_path):
    """The default file cannot be written: it is said, and the server runs with the defaults."""
    folder = tmp_path / "bin"
    folder.mkdir()
    kernel = make_kernel(folder, "WolframKernel")
    environment = {"HOME": "/proc/no-home", "PATH": f"{folder}:/bin:/usr/bin"}
    with bare_server(tmp_path, None, *LOOPBACK, environment=environment) as server:
        server.wait_for_log("Pool KernelPoolOne is ready with 2 kernels")
        with server.connect() as link:
            assert link.get_packet()[0] == "InputNamePacket"
    (warning,) = messages(server.log, "Warning")
    assert warning.startswith("/proc/no-home/.config/WSTPServer/wstpserver.conf: no default configuration file can be")
    assert warning.endswith("using the defaults")
    assert f'Using "{kernel}" as a default kernel path' in messages(server.log, "Information")


def test_the_default_file_is_written_once_and_is_good(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    make_kernel(folder, "WolframKernel")
    environment = {"PATH": f"{folder}:/bin:/usr/bin"}
    path = tmp_path / ".config" / "WSTPServer" / "wstpserver.conf"
    with bare_server(tmp_path, None, *LOOPBACK, environment=environment) as first:
        assert f'Wrote a default configuration file to "{path}"' in messages(first.log, "Information")
    written = path.read_bytes()
    with bare_server(tmp_path, None, *LOOPBACK, environment=environment) as second:
        assert f'Using the configuration file "{path}"' in messages(second.log, "Information")
    assert path.read_bytes() == written


@pytest.mark.parametrize(("name", "value"), [("WSTPSERVER_PORT", "65536"), ("WSTPSERVER_PORT", "abc")])
def test_a_wrong_variable(tmp_path, name, value):
    with failing(tmp_path, one_pool(make_kernel(tmp_path)), environment={name: value}) as server:
        assert server.wait_for_exit() == 78
    (error,) = messages(server.log, "Error")
    assert error.startswith(f"The configuration cannot be used:\n{name}: expected") and "65535" in error
