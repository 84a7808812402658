"""Messages to systemd, received by a socket as systemd has it."""

import os
import socket
import uuid

import pytest

from wstpserver.server import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """The service manager's socket, by path and in the abstract namespace."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        receiver.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield receiver


def received(manager):
    return manager.recv(10_000).decode()


def test_states(manager):
    assert systemd.ready("listening on port 31415")
    assert received(manager) == "READY=1\nSTATUS=listening on port 31415"
    assert systemd.ready()
    assert received(manager) == "READY=1"
    assert systemd.stopping("closing 4 kernels")
    assert received(manager) == "STOPPING=1\nSTATUS=closing 4 kernels"
    assert systemd.watchdog()
    assert received(manager) == "WATCHDOG=1"


def test_reloading_carries_the_time(manager):
    before = systemd.time.monotonic_ns() // 1000
    assert systemd.reloading()
    state, stamp = received(manager).split("\n")
    assert state == "RELOADING=1"
    name, _, value = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= systemd.time.monotonic_ns() // 1000


def test_a_status_is_one_line(manager):
    systemd.stopping("two\nlines\n READY=1")
    assert received(manager) == "STOPPING=1\nSTATUS=two lines READY=1"


@pytest.mark.parametrize("value", [None, "", "relative", "/nowhere/notify", "@nobody-listens-here", "/" + "x" * 200])
def test_without_a_manager_nothing_happens(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert not systemd.ready()


def test_a_manager_that_does_not_read_delays_nothing(manager):
    results = [systemd.ready("x" * 1000) for _ in range(10_000)]
    assert results[0] and not results[-1]


def test_no_descriptor_is_left_open(manager):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        systemd.watchdog()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("microseconds", "pid", "interval"),
    [
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        (None, None, None),
        ("", None, None),
        ("0", None, None),
        ("-5", None, None),
        ("abc", None, None),
    ],
)
def test_watchdog_interval(monkeypatch, microseconds, pid, interval):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert systemd.watchdog_interval() == interval
