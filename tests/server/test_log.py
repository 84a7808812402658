"""The log: its format to the character, its levels, and that nothing it is written to can stop it."""

import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wstpserver.server import log as log_module
from wstpserver.server.log import BACKLOG_LIMIT, Log, LogLevel, LogSink, escape, parse_log_level, shorten

ENTRY = re.compile(
    r"WSTPServer: Logger \(0, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\): (\w+): \n((?:    .*\n)+)\n",
)


def entries(text):
    """(severity, message) of each entry; nothing may stand between them."""
    found = list(ENTRY.finditer(text))
    assert "".join(match[0] for match in found) == text
    return [(match[1], "\n".join(line[4:] for line in match[2].splitlines())) for match in found]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def utc(monkeypatch):
    """Local time is UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_an_entry_to_the_character(path, monkeypatch, utc):
    monkeypatch.setattr(log_module.time, "time", lambda: 1601398200.9)
    log = Log(path=str(path))
    log.information('Using "/usr/local/Wolfram/Mathematica/12.2/Executables/WolframKernel" as a default kernel path')
    monkeypatch.setattr(log_module.time, "time", lambda: 1601398205.0)
    log.information("Listening for new connections on port 31415")
    log.close()
    assert path.read_bytes() == (
        b"WSTPServer: Logger (0, 2020-09-29 16:50:00): Information: \n"
        b'    Using "/usr/local/Wolfram/Mathematica/12.2/Executables/WolframKernel" as a default kernel path\n'
        b"\n"
        b"WSTPServer: Logger (0, 2020-09-29 16:50:05): Information: \n"
        b"    Listening for new connections on port 31415\n"
        b"\n"
    )


ALL = [("Information", "i"), ("Warning", "w"), ("Error", "e"), ("Debug", "d"), ("Trace", "t")]


@pytest.mark.parametrize(("level", "count"), [(LogLevel.ERROR, 3), (LogLevel.DEBUG, 4), (LogLevel.TRACE, 5)])
def test_levels(path, level, count):
    log = Log(level, str(path))
    for severity, message in ALL:
        getattr(log, severity.lower())(message)
    log.close()
    assert entries(path.read_text()) == ALL[:count]
    assert (log.debug_enabled, log.trace_enabled) == (level >= 2, level >= 3)


def test_the_level_can_change(path):
    log = Log(LogLevel.ERROR, str(path))
    log.debug("1")
    log.set_level(LogLevel.DEBUG)
    log.debug("2")
    log.close()
    assert entries(path.read_text()) == [("Debug", "2")]


@pytest.mark.parametrize(
    ("text", "level"),
    [("error", 1), ("1", 1), ("debug", 2), ("2", 2), ("trace", 3), ("3", 3), ("TRACE", 3), ("Debug", 2)],
)
def test_names_and_numbers_of_levels(text, level):
    assert parse_log_level(text) is LogLevel(level)


@pytest.mark.parametrize("text", ["", "0", "4", "info", "err", "1.0", "x" * 1000])
def test_what_is_no_level(text):
    with pytest.raises(ValueError, match="^expected error, debug, trace, 1, 2 or 3, got "):
        parse_log_level(text)


def test_a_message_cannot_pretend_to_be_another_entry(path):
    log = Log(path=str(path))
    forged = "a\n\nWSTPServer: Logger (0, 2020-09-29 16:50:00): Error: \n    forged\r\n\n\n"
    log.information(forged)
    log.close()
    assert entries(path.read_text()) == [
        ("Information", "a\n\nWSTPServer: Logger (0, 2020-09-29 16:50:00): Error: \n    forged")
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größer \N{GRINNING FACE}", "größer \N{GRINNING FACE}"),
        ("\x1b[31mred\x07\0\x7f\x9b", "\\x1b[31mred\\x07\\x00\\x7f\\x9b"),
        ("a\rb\tc", "a\\x0db\tc"),
        ("\u202etxt\u2066\u2028x", "\\u202etxt\\u2066\\u2028x"),
        ("\u200fright\u061cleft\u200b\u200d\ufeff\u00ad", "\\u200fright\\u061cleft\\u200b\\u200d\\ufeff\\xad"),
        ("\U000e0041\u2060\u180e", "\\U000e0041\\u2060\\u180e"),
        ("\uf74e\u00a0\u3000\u0301", "\uf74e\u00a0\u3000\u0301"),
        ("ends\r\n\n", "ends"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert escape(text) == shown


def test_any_text_can_be_logged(path):
    log = Log(path=str(path))
    log.information("\udcff" + "".join(map(chr, range(0x300))))
    log.information("")
    log.information("%s %d {} %")
    log.close()
    found = entries(path.read_bytes().decode("utf-8"))
    assert found[0][1].startswith("\\udcff\\x00")
    assert [message for _, message in found[1:]] == ["", "%s %d {} %"]


@pytest.mark.parametrize(
    ("content", "limit", "shown"),
    [
        (b"F A # R A~O WSCommandPacket\n", 200, "F A # R A~O WSCommandPacket\\x0a"),
        (b"\xf6\0\xff", 200, "\\xf6\\x00\\xff"),
        ("größer".encode(), 200, "größer"),
        ("\u202e\n", 200, "\\u202e\\x0a"),
        (b"x" * 201, 200, "x" * 197 + "..."),
        (b"x" * 200, 200, "x" * 200),
        (b"\0" * 10_000_000, 200, "\\x00" * 49 + "\\..."),
    ],
)
def test_contents_are_shortened(content, limit, shown):
    assert shorten(content, limit) == shown
    assert len(shorten(content, limit)) <= limit


def test_many_threads_do_not_mix_their_entries(path):
    log = Log(path=str(path))
    threads = [
        threading.Thread(target=lambda n=n: [log.information(f"{n}\n{i}") for i in range(500)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = entries(path.read_text())
    assert sorted(message for _, message in found) == sorted(f"{n}\n{i}" for n in range(4) for i in range(500))


# Files


def test_a_file_is_appended_to(path):
    path.write_text("before\n")
    log = Log(path=str(path))
    log.information("after")
    log.close()
    assert path.read_text().startswith("before\nWSTPServer: ")


def test_the_file_is_not_for_everybody(path):
    Log(path=str(path)).close()
    assert path.stat().st_mode & 0o027 == 0


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Log(path=str(tmp_path / "missing" / "log"))
    with pytest.raises(IsADirectoryError):
        Log(path=str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        Log(path=str(tmp_path / "pipe"))


def test_reopen_follows_a_rotation(path):
    log = Log(path=str(path))
    log.information("1")
    path.rename(f"{path}.1")
    log.information("2")
    log.reopen()
    log.information("3")
    log.close()
    assert [m for _, m in entries(Path(f"{path}.1").read_text())] == ["1", "2"]
    assert [m for _, m in entries(path.read_text())] == ["3"]


def test_reopen_that_fails_keeps_the_old_file_and_says_so(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    log = Log(path=str(folder / "log"))
    folder.rename(tmp_path / "moved")
    log.reopen()
    log.information("still here")
    log.close()
    found = entries((tmp_path / "moved" / "log").read_text())
    assert found[0] == (
        "Error",
        f'The log file "{folder}/log" cannot be opened again (No such file or directory)',
    )
    assert found[1] == ("Information", "still here")


def test_reopen_leaks_no_descriptor(path):
    log = Log(path=str(path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        log.reopen()
    assert len(os.listdir("/proc/self/fd")) == before
    log.close()


def test_children_do_not_inherit_the_file(path):
    log = Log(path=str(path))
    done = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False, check=True)
    assert str(path) not in done.stdout
    log.close()


# Trouble


def test_a_full_disk_loses_no_entry_that_fits_into_the_memory(path):
    path.symlink_to("/dev/full")
    log = Log(path=str(path))
    for number in range(100):
        log.information(str(number))
    assert not log.flush()
    path.unlink()
    log.reopen()
    log.information("100")
    log.close()
    assert [message for _, message in entries(path.read_text())] == [str(number) for number in range(101)]


def test_what_does_not_fit_is_counted_and_told_when_it_can_be_written(path):
    path.symlink_to("/dev/full")
    log = Log(path=str(path))
    for number in range(30):
        log.information(f"{number} " + "x" * 100_000)
    path.unlink()
    log.reopen()
    log.information("after")
    log.close()
    found = entries(path.read_text())
    kept = [int(message.split()[0]) for _, message in found[:-2]]
    assert kept == list(range(len(kept)))
    assert 5 < len(kept) < 12
    assert found[-2:] == [
        ("Warning", f"{30 - len(kept)} log entries are missing here: No space left on device"),
        ("Information", "after"),
    ]


def test_flush_tells_it_as_well(path):
    path.symlink_to("/dev/full")
    log = Log(path=str(path))
    log.information("x" * BACKLOG_LIMIT)
    log.information("dropped")
    assert not log.flush()
    path.unlink()
    log.reopen()
    assert log.flush()
    found = entries(path.read_text())
    assert found[1:] == [("Warning", "1 log entries are missing here: No space left on device")]
    log.close()


def test_a_write_that_succeeds_in_part_leaves_a_whole_entry(path):
    # In a process of its own, because the limit counts for all files.
    code = f"""
import resource, signal
from wstpserver.server.log import Log
log = Log(path={str(path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log.information("a" * 200)
assert not log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.flush()
log.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert entries(path.read_text()) == [("Information", "a" * 200)]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


class Pipe:
    """A log whose stdout is a pipe, in a process of its own so that descriptor 1 is really it."""

    def __init__(self, code):
        program = f"import sys\nfrom wstpserver.server.log import Log\nlog = Log()\n{code}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE
        )

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_a_closed_pipe_does_not_stop_the_server():
    code = """
sys.stdin.readline()
for number in range(1000): log.information(str(number) * 1000)
log.close()
print("done", file=sys.stderr)
"""
    with Pipe(code) as process:
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate(b"\n", timeout=60)
        assert errors == b"done\n"
        assert process.returncode == 0


def test_a_reader_that_does_not_read_delays_nothing_and_later_gets_everything():
    code = """
for number in range(2000): log.information(str(number) + "x" * 200)
print("written", file=sys.stderr, flush=True)
sys.stdin.readline()
while not log.flush(): pass
log.close()
"""
    with Pipe(code) as process:
        assert process.stderr.readline() == b"written\n"
        text, _ = process.communicate(b"\n", timeout=60)
        found = entries(text.decode())
        assert [message for _, message in found] == [str(number) + "x" * 200 for number in range(2000)]


def test_a_server_started_without_stdout_writes_nowhere():
    code = """
import os, socket, sys
left, right = socket.socketpair()
os.dup2(left.fileno(), 1)
from wstpserver.server.log import Log
log = Log()
log.information("x")
log.close()
right.setblocking(False)
try: sys.exit(f"the peer got {right.recv(1000)!r}")
except BlockingIOError: pass
"""
    command = f'exec "{sys.executable}" -c "$1" >&-'
    done = subprocess.run(["sh", "-c", command, "sh", code], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_stdout_is_what_a_log_without_a_file_writes_to(capfd):
    for path in (None, ""):
        log = Log(path=path)
        log.information("to stdout")
        log.close()
    assert [message for _, message in entries(capfd.readouterr().out)] == ["to stdout"] * 2


def test_a_named_pipe_can_be_logged_to(path):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        sink = LogSink(str(path))
        assert sink.write(b"x" * BACKLOG_LIMIT)
        assert not sink.flush()
        assert sink.failure == "its reader does not read"
        assert not sink.write(b"y" * BACKLOG_LIMIT)
        assert len(os.read(reader, BACKLOG_LIMIT)) > 0
        assert sink.write(b"z")
        sink.close()
    finally:
        os.close(reader)


def test_a_disabled_level_costs_next_to_nothing(path):
    """Of what an entry costs that is written."""
    log = Log(LogLevel.ERROR, str(path))

    def seconds(entry):
        start = time.process_time()  # which other programs have no part in
        for _ in range(20_000):
            if log.trace_enabled:
                log.trace("never")
            entry("always")
        return time.process_time() - start

    disabled = seconds(log.debug)
    assert path.read_bytes() == b""
    assert disabled < seconds(log.error) / 3
    log.close()
