"""wstpscript from its words to its exit status, with a kernel played by a thread."""

import signal
import socket
import subprocess
import threading

import pytest

from tests.client.helpers import PROMPT, dies, endless, peer, raw_peer, takes
from tests.support.packets import input_packet
from wstpserver.cli.script.main import DOCUMENT, main
from wstpserver.client import ConnectError
from wstpserver.client.address import DEFAULT_PORT
from wstpserver.version import VERSION
from wstpserver.wire.packets import text_packet
from wstpserver.wire.values import Function, Symbol

from .helpers import ABORTED, FAILED, NULL, process, served, without_waiting


@pytest.fixture
def run(capfd):
    """run(rules, *words) -> (exit status, stdout, stderr) in this process, with a server of its own."""

    def run(rules, *words):
        with served(rules) as (address, _):
            status = main(["-wstpserver", address, *words])
        captured = capfd.readouterr()
        return status, captured.out, without_waiting(captured.err)

    return run


def test_code(run):
    assert run({'StringReverse["hello"]': "olleh"}, "-code", 'StringReverse["hello"]') == (0, "olleh\n", "")


def test_null_prints_nothing(run):
    assert run({"x = 5;": NULL}, "-code", "x = 5;") == (0, "", "")


@pytest.mark.parametrize("code", ["", " \n\t"])
def test_no_code_at_all(run, code):
    assert run({}, "-code", code) == (0, "", "")


@pytest.mark.parametrize(("value", "text"), [(FAILED, "$Failed\n"), (ABORTED, "$Aborted\n")])
def test_failure(run, value, text):
    assert run({"bad": value}, "-code", "bad") == (1, text, "")


def test_the_status_of_exit(run):
    assert run({"Exit[3]": (3,)}, "-code", "Exit[3]") == (3, "", "")
    assert run({"Quit[]": ()}, "-code", "Quit[]") == (0, "", "")


def test_output_and_messages_go_to_their_streams(run):
    def rule(kernel):
        kernel.print("one\n")
        kernel.message("Power", "infy", "\nPower::infy: Infinite expression.\n")
        kernel.print("no line feed")
        kernel.message("f", "tag", None)
        return "result"

    status, out, err = run({"go": rule}, "-code", "go")
    assert (status, out) == (0, "one\nno line feedresult\n")
    assert err == "Power::infy: Infinite expression.\nf::tag\n"


def test_characters_the_terminal_cannot_show():
    with (
        served({"go": "\N{GREEK SMALL LETTER ALPHA}\U0001f600"}) as (address, _),
        process("-wstpserver", address, "-code", "go") as started,
    ):
        out, _ = started.communicate(timeout=PROMPT)
    assert out.decode("utf-8", "strict").strip() in ("\N{GREEK SMALL LETTER ALPHA}\U0001f600", "\\u03b1\\U0001f600")


def test_a_file_prints_only_what_it_prints(run, tmp_path):
    path = tmp_path / "main.wl"
    path.write_text("Print[1]\n7", encoding="utf-8")

    def rule(kernel):
        kernel.print("1\n")
        return "7"

    rules = {"Print[1]\n7": rule}
    assert run(rules, "-file", str(path)) == (0, "1\n", "")
    assert run(rules, "-file", str(path), "-print") == (0, "1\n7\n", "")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"#!/usr/bin/env wstpscript\n1+1", "\n1+1"),
        (b"\xef\xbb\xbf1+1", "1+1"),
        (b"\xef\xbb\xbf#!x\r\n1+1", "\n1+1"),
        ("\N{GREEK SMALL LETTER ALPHA}".encode(), "\N{GREEK SMALL LETTER ALPHA}"),
    ],
)
def test_what_of_a_file_is_code(run, tmp_path, data, code):
    path = tmp_path / "main.wl"
    path.write_bytes(data)
    assert run({code: "right"}, "-file", str(path), "-print") == (0, "right\n", "")


def test_a_file_with_nothing_but_an_interpreter_line(run, tmp_path):
    path = tmp_path / "main.wl"
    path.write_text("#!/usr/bin/env wstpscript")
    assert run({}, "-file", str(path)) == (0, "", "")


def test_standard_input():
    with served({"1+1": "2"}) as (address, _):
        words = ("-wstpserver", address, "-file", "-", "-print")
        with process(*words, stdin=subprocess.PIPE) as started:
            assert started.communicate(b"1+1", timeout=PROMPT) == (b"2\n", b"")


def test_questions_are_answered_from_standard_input():
    rules = {"go": lambda kernel: kernel.ask(input_packet("? ")).arguments[0]}
    for given, answer in ((b"42\n", b"? 42\n"), (b"", b"? EndOfFile\n")):
        with (
            served(rules) as (address, _),
            process("-wstpserver", address, "-code", "go", stdin=subprocess.PIPE) as started,
        ):
            assert started.communicate(given, timeout=PROMPT) == (answer, b"")


def test_help_and_version(capfd):
    assert main(["-help"]) == 0
    assert capfd.readouterr().out == DOCUMENT
    assert main(["-version"]) == 0
    assert capfd.readouterr().out == f"wstpscript {VERSION}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-code", "x", "-file", "y"], "exclude"),
        (["-wstpserver", "99999@h", "-code", "x"], "'99999' is not a port"),
        (["-file", "/nonexistent/file.wl"], "cannot read /nonexistent/file.wl: No such file or directory"),
    ],
)
def test_wrong_usage(capfd, words, says):
    assert main(words) == 64
    captured = capfd.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.endswith("Try 'wstpscript -help'.\n")


def test_a_file_that_is_no_text(capfd, tmp_path):
    path = tmp_path / "main.wl"
    path.write_bytes(b"1+\xff")
    assert main(["-file", str(path)]) == 64
    assert "is not UTF-8 (invalid start byte" in capfd.readouterr().err


# No server, no kernel, no answer


def test_no_server(capfd):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert main(["-wstpserver", f"{bound.getsockname()[1]}@127.0.0.1", "-code", "1"]) == 69
    captured = capfd.readouterr()
    assert "refused. Check that wstpserver is running there" in captured.err
    assert captured.out == ""


def test_the_default_address(monkeypatch, capfd):
    """WSTPServer's port on this machine."""
    asked = []

    def connect(address, timeout, **options):
        asked.append(address.link_name)
        raise ConnectError("stop here")

    monkeypatch.setattr("wstpserver.client.base_session.connect", connect)
    assert main(["-wstpserver", "-code", "1"]) == 69
    assert main(["-code", "1"]) == 69
    assert asked == [f"{DEFAULT_PORT}@localhost"] * 2


def test_no_kernel(capfd):
    """The server says why, and closes."""

    def script_of_server(link):
        link.get(PROMPT)
        link.put(text_packet("WSTPServer: no kernel of pool A became available within 60 seconds"))

    with peer(script_of_server) as address:
        assert main(["-wstpserver", address, "-code", "1"]) == 69
    assert "the server says: no kernel of pool A became available" in capfd.readouterr().err


def test_a_server_that_is_no_wstpserver(capfd):
    def answer(socks):
        socks[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while socks[0].recv(4096):
            pass

    with raw_peer(answer) as port:
        assert main(["-wstpserver", f"{port}@127.0.0.1", "-code", "1"]) == 69
    assert "HTTP" in capfd.readouterr().err


def test_a_kernel_that_dies(run):
    def rule(kernel):
        kernel.print("last words\n")
        return dies(kernel)

    status, out, err = run({"go": rule}, "-code", "go")
    assert (status, out) == (1, "last words\n")
    assert "closed the link" in err


def test_time_is_over(run):
    with takes(1):
        status, out, err = run({"endless": endless}, "-timeout", "1", "-code", "endless")
    assert (status, out) == (1, "$TimedOut\n")
    assert "told to abort" in err


def test_time_is_over_for_a_script_that_prints_no_result(run, tmp_path):
    (tmp_path / "s.wl").write_text("endless")
    status, out, err = run({"endless": endless}, "-timeout", "1", "-file", str(tmp_path / "s.wl"))
    assert (status, out) == (1, "")
    assert "told to abort" in err


def test_time_is_over_before_there_is_a_kernel(capfd):
    release = threading.Event()
    with peer(lambda link: release.wait(PROMPT)) as address:
        with takes(0.3):
            assert main(["-wstpserver", address, "-timeout", "0.3", "-code", "1"]) == 69
        release.set()


def test_the_kernel_is_given_back():
    """Before the evaluation, so that it holds for a script that is killed, too."""
    with served({"1+1": "2"}) as (address, kernel):
        assert main(["-wstpserver", address, "-code", "1+1"]) == 0
    names = [name for name, _ in kernel.seen]
    assert kernel.commands[0] == Function(Symbol("SetKeepAlive"), (Symbol("False"),))
    assert names.index("WSCommandPacket") < len(names) - 1 - names[::-1].index("EvaluatePacket")


# From outside


def test_ctrl_c_aborts_the_evaluation():
    def rule(kernel):
        kernel.print("running\n")
        return kernel.until_aborted()

    with served({"go": rule}) as (address, kernel):
        with process("-wstpserver", address, "-code", "go") as started:
            assert started.stdout.readline() == b"running\n"
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=PROMPT)
        assert (started.returncode, out, err) == (130, b"", b"")
    assert kernel.aborts == 1


def test_ctrl_c_while_waiting_for_a_kernel():
    connected = threading.Event()
    release = threading.Event()

    def script_of_server(link):
        link.get(PROMPT)  # the first question has come, and has no answer
        connected.set()
        release.wait(PROMPT)

    with peer(script_of_server) as address:
        with process("-wstpserver", address, "-code", "1") as started:
            assert connected.wait(PROMPT)
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=PROMPT)
        release.set()
        assert (started.returncode, out, err) == (130, b"", b"")


def test_a_closed_pipe_ends_it_quietly():
    def rule(kernel):
        while not kernel.aborted.wait(0.001):
            kernel.print("line\n")
        return ABORTED

    with served({"go": rule}) as (address, kernel), process("-wstpserver", address, "-code", "go") as started:
        assert started.stdout.readline() == b"line\n"
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait(PROMPT) == 141
    assert kernel.aborts


def test_output_comes_while_it_happens():
    release = threading.Event()

    def rule(kernel):
        kernel.print("first\n")
        assert release.wait(PROMPT)
        return "second"

    with served({"go": rule}) as (address, _), process("-wstpserver", address, "-code", "go") as started:
        assert started.stdout.readline() == b"first\n"
        release.set()
        assert started.communicate(timeout=PROMPT) == (b"second\n", b"")
