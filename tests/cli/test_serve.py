"""The program wstpserver up to the point where the server itself runs: options, files, exit codes, messages."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from wstpserver.cli import serve
from wstpserver.server.log import LogLevel
from wstpserver.settings.reference import sample_text
from wstpserver.version import VERSION

ROOT = Path(__file__).parents[2]


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A made-up user with a kernel; returns the home folder, which is the working folder too."""
    for name in list(os.environ):
        if name.startswith(("WSTPSERVER_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    kernel = tmp_path / "bin" / "WolframKernel"
    kernel.parent.mkdir()
    kernel.write_text("#!/bin/sh\n")
    kernel.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(monkeypatch):
    """Puts a server that ends at once in the place of the real one; the list of what it was asked to run."""
    calls = []

    def run(settings, options, handed_over=""):
        calls.append((settings, options))
        options.log.information("Listening")
        return 0

    monkeypatch.setitem(sys.modules, "wstpserver.server.app", types.SimpleNamespace(run=run))
    return calls


def run(capfd, *words):
    """(exit code, stdout, stderr) of the program in this process."""
    code = serve.main(words)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


# Help, version, usage


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(capfd, word):
    code, out, err = run(capfd, word)
    assert (code, err) == (0, "")
    for text in ("Usage:", "--log-level", "-f, --log-file [FILE]", "WSTPSERVER_DISABLE_ADVERTISING", "Exit codes"):
        assert text in out


def test_version(capfd):
    assert run(capfd, "--version") == (0, f"wstpserver {VERSION}\n", "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-p", "65536"], "--port: expected an integer from 0 to 65535, got 65536"),
        (["-p", "abc"], "--port: expected a port number from 0 to 65535, got 'abc'"),
        (["--port=-1"], "--port: expected a port number from 0 to 65535, got '-1'"),
        (["-l", "4"], "--log-level: expected error, debug, trace, 1, 2 or 3, got '4'"),
        (["-l", "verbose"], "--log-level: expected error, debug, trace, 1, 2 or 3, got 'verbose'"),
        (["--prot", "1"], "unknown option --prot; did you mean --port?"),
        (["serve"], "unexpected argument 'serve'"),
    ],
)
def test_wrong_usage(capfd, served, words, reason):
    code, out, err = run(capfd, *words)
    assert (code, out) == (64, "")
    assert err == f"wstpserver: {reason}\nTry 'wstpserver --help'.\n"
    assert served == []


def test_help_and_check_need_no_server(user):
    code = "import sys; from wstpserver.cli.serve import main; main(['--help']); main(['--check']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"gevent", "zeroconf", "wstpserver.server.app"} & set(done.stdout.split())


# What the server is asked to run


def test_without_options(capfd, user, served):
    code, out, err = run(capfd)
    assert (code, err) == (0, "")
    ((settings, options),) = served
    assert (options.port, options.interface, options.log_level) == (31415, "", LogLevel.ERROR)
    assert (options.log_file, options.advertise) == (None, None)
    configuration = user / ".config" / "WSTPServer" / "wstpserver.conf"
    assert options.configuration_file == configuration
    assert configuration.read_text() == sample_text()
    assert settings is options.loaded.settings
    assert settings.default_pool.kernel_path == str(user / "bin" / "WolframKernel")
    assert [line.strip() for line in out.splitlines() if line.startswith("    ")] == [
        f'Wrote a default configuration file to "{configuration}"',
        f'Using "{user}/bin/WolframKernel" as a default kernel path',
        "Listening",
    ]


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["-p", "0"], "port", 0),
        (["--port=65535"], "port", 65535),
        (["-i", "localhost"], "interface", "localhost"),
        (["--interface", "::1"], "interface", "::1"),
        (["-l", "error"], "log_level", LogLevel.ERROR),
        (["-l2"], "log_level", LogLevel.DEBUG),
        (["--log-level", "Trace"], "log_level", LogLevel.TRACE),
        (["-f"], "log_file", None),
        (["-f", "-"], "log_file", None),
        (["-f", "x.log"], "log_file", "{user}/x.log"),
        (["--log-file={user}/y.log"], "log_file", "{user}/y.log"),
        (["-a"], "advertise", ""),
        (["--advertise"], "advertise", ""),
        (["-a", "lab"], "advertise", "lab"),
        (["--advertise=lab one"], "advertise", "lab one"),
    ],
)
def test_options_reach_the_server(capfd, user, served, words, field, value):
    code, _, err = run(capfd, *(word.format(user=user) for word in words))
    assert (code, err) == (0, "")
    options = served[0][1]
    assert getattr(options, field) == (value.format(user=user) if isinstance(value, str) else value)
    assert options.origins[field] == f"--{field.replace('_', '-')}"


def test_precedence(capfd, user, served, monkeypatch):
    (user / "wstpserver.conf").write_text('{"Port": 1, "Interface": "file", "Pools": {"P": {}}}')
    monkeypatch.setenv("WSTPSERVER_PORT", "2")
    run(capfd)
    run(capfd, "-p", "3", "-i", "cli")
    found = [(options.port, options.interface, dict(options.origins)) for _, options in served]
    assert found[0][:2] == (2, "file")
    assert found[0][2]["port"] == "WSTPSERVER_PORT"
    assert found[0][2]["interface"] == f"{user}/wstpserver.conf:1"
    assert found[1][:2] == (3, "cli")
    assert found[1][2]["port"] == "--port"


def test_advertising_can_be_disabled_whatever_the_command_line_says(capfd, user, served, monkeypatch):
    monkeypatch.setenv("WSTPSERVER_DISABLE_ADVERTISING", "1")
    code, out, _ = run(capfd, "-a", "lab")
    assert code == 0
    assert served[0][1].advertise is None
    assert served[0][1].origins["advertise"] == "WSTPSERVER_DISABLE_ADVERTISING"
    assert "not advertised, because WSTPSERVER_DISABLE_ADVERTISING is set" in out
    monkeypatch.setenv("WSTPSERVER_DISABLE_ADVERTISING", "")
    run(capfd, "-a", "lab")
    assert served[1][1].advertise == "lab"


def test_the_exit_code_is_that_of_the_server(capfd, user, monkeypatch):
    for code in (0, 69):
        app = types.SimpleNamespace(run=lambda settings, options, handed_over, code=code: code)
        monkeypatch.setitem(sys.modules, "wstpserver.server.app", app)
        assert run(capfd)[0] == code


@pytest.mark.parametrize("to_file", [False, True])
def test_the_reason_why_the_server_ends_goes_to_stderr(capfd, user, monkeypatch, to_file):
    def refused(settings, options, handed_over):
        options.log.error("Cannot listen on port 1")
        return 69

    monkeypatch.setitem(sys.modules, "wstpserver.server.app", types.SimpleNamespace(run=refused))
    code, _, err = run(capfd, *(["-f", "log"] if to_file else []))
    assert (code, err) == (69, "wstpserver: Cannot listen on port 1\n")


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("lost the thread"), 70), (KeyboardInterrupt(), 0)])
@pytest.mark.parametrize("to_file", [False, True])
def test_an_internal_error_is_logged(capfd, user, monkeypatch, error, code, to_file):
    def broken(settings, options, handed_over):
        raise error

    monkeypatch.setitem(sys.modules, "wstpserver.server.app", types.SimpleNamespace(run=broken))
    found, out, err = run(capfd, *(["-f", "log"] if to_file else []))
    assert found == code
    log = (user / "log").read_text() if to_file else out
    assert ("lost the thread" in log) == (code == 70)
    assert ("Internal error:\n    Traceback" in log) == (code == 70)
    assert ("lost the thread" in err) == (code == 70)


# Configuration files


@pytest.mark.parametrize("to_file", [False, True])
def test_a_file_of_the_search_that_is_not_valid_is_reported(capfd, user, served, to_file):
    (user / "wstpserver.conf").write_text('{"Pools": {"P": {"KeepAliv": true}}}')
    code, out, err = run(capfd, *(["-f", "log"] if to_file else []))
    assert code == 0
    log = (user / "log").read_text() if to_file else out
    problem = f'{user}/wstpserver.conf:1:18: Pools.P.KeepAliv: unknown key; did you mean "KeepAlive"?'
    assert problem in log
    assert f"{user}/wstpserver.conf: is not valid and was skipped" in log
    assert err.startswith("wstpserver: WARNING: the configuration file was skipped because it is not valid:\n")
    assert problem in err
    assert f'The server runs with "{user}/.config/WSTPServer/wstpserver.conf" instead.' in err


@pytest.mark.parametrize("to_file", [False, True])
@pytest.mark.parametrize("how", ["-c", "WSTPSERVER_CONFIGURATION_FILE"])
def test_a_named_file_that_is_not_valid(capfd, user, served, monkeypatch, how, to_file):
    (user / "bad.conf").write_text('{"Pools": {"P": {"KeepAliv": true, "Default": 1}}}')
    words = ["-f", "log"] if to_file else []
    if how == "-c":
        words += ["-c", "bad.conf"]
    else:
        monkeypatch.setenv(how, "bad.conf")
    code, out, err = run(capfd, *words)
    assert (code, served) == (78, [])
    log = (user / "log").read_text() if to_file else out
    assert ": Error: \n    The configuration cannot be used:\n" in log
    for text in (log, err):
        assert f"{user}/bad.conf:1:18: Pools.P.KeepAliv: unknown key" in text
        assert f"{user}/bad.conf:1:47: Pools.P.Default: expected true or false, got 1" in text


def test_a_wrong_variable(capfd, user, served, monkeypatch):
    monkeypatch.setenv("WSTPSERVER_PORT", "abc")
    code, out, _ = run(capfd)
    assert (code, served) == (78, [])
    assert "WSTPSERVER_PORT: expected a port number from 0 to 65535, got 'abc'" in out


def test_a_log_file_in_a_missing_folder(capfd, user, served):
    code, out, err = run(capfd, "-f", "missing/log")
    assert (code, out, served) == (78, "", [])
    assert err == "wstpserver: the log file 'missing/log' cannot be written: No such file or directory\n"


def test_a_home_that_cannot_be_written_to(capfd, user, served, monkeypatch):
    (user / "file").touch()
    monkeypatch.setenv("HOME", str(user / "file"))
    code, out, _ = run(capfd)
    assert code == 0
    assert "no default configuration file can be written here (Not a directory); using the defaults" in out
    assert served[0][0].default_pool.name == "KernelPoolOne"


# --check


def table(out):
    """{section: {key: (value, origin)}} of what --check prints."""
    sections = {}
    for block in out.split("\n\n")[1:]:
        title, *lines = block.splitlines()
        rows = sections[title] = {}
        for line in lines:
            key, rest = line.strip().split(None, 1)
            value, _, origin = rest.rpartition("  (")
            rows[key] = (value.strip(), origin.removesuffix(")"))
    return sections


def test_check_shows_every_value_and_its_origin(capfd, user, served, monkeypatch):
    (user / "c").write_text(
        json.dumps(
            {"Port": 7, "KernelWaitTimeout": 1.5, "Pools": {"P": {"KernelOptions": "-a 'b c'"}, "Q": {}}}, indent=1
        )
    )
    monkeypatch.setenv("WSTPSERVER_INTERFACE", "localhost")
    code, out, err = run(capfd, "--check", "-c", "c", "-l", "2", "-a", "lab")
    assert (code, err, served) == (0, "", [])
    assert out.startswith(f"Configuration file: {user}/c\n")
    found = table(out)
    recommended = "Recommended where other people can log in to this computer"
    assert list(found) == ["Command line", "Server", 'Pool "P"', 'Pool "Q"', recommended, "The configuration is valid"]
    assert found[recommended]['"AllowedUsers":'][0] == '["self"]'
    assert out.endswith("valid\n")
    assert found["Command line"] == {
        "--log-level": ("debug", "--log-level"),
        "--log-file": ("stdout", "default"),
        "--advertise": ('"lab"', "--advertise"),
    }
    assert found["Server"]["Port"] == ("7", f"{user}/c:2")
    assert found["Server"]["Interface"] == ('"localhost"', "WSTPSERVER_INTERFACE")
    assert found["Server"]["KernelWaitTimeout"] == ("1.5", f"{user}/c:3")
    assert found["Server"]["KernelStartTimeout"] == ("60", "default")
    assert found['Pool "P"']["KernelOptions"] == ("\"-a 'b c'\"", f"{user}/c:6")
    assert found['Pool "P"']["Default"] == ("true", "automatic")
    assert found['Pool "Q"']["KernelPath"] == (f'"{user}/bin/WolframKernel"', "automatic: found on PATH")


@pytest.mark.parametrize("safe", [{"AllowedUsers": ["self"]}, {"AccessTokenFile": "tokens"}])
def test_check_recommends_nothing_to_a_safe_server(capfd, user, safe):
    (user / "tokens").write_text("a token that nobody guesses\n")
    (user / "c").write_text(json.dumps({**safe, "Pools": {"P": {}}}))
    code, out, _ = run(capfd, "--check", "-c", "c")
    assert code == 0 and "Recommended" not in out
    key = next(iter(safe))
    assert table(out)["Server"][key][0] in ('["self"]', f'"{user}/tokens"')


def test_check_writes_nothing(capfd, user):
    code, out, _ = run(capfd, "--check")
    assert code == 0
    path = user / ".config" / "WSTPServer" / "wstpserver.conf"
    assert out.startswith(f"Configuration file: {path} (created when the server starts)\n")
    assert sorted(os.listdir(user)) == ["bin"]


def test_check_of_a_search_with_a_wrong_file(capfd, user):
    (user / "wstpserver.conf").write_text("{")
    code, out, _ = run(capfd, "--check")
    assert code == 78
    assert out.startswith(
        f'Warning: {user}/wstpserver.conf:1:2: the file ends here, but the "}}" for line 1 is missing\n'
    )
    assert out.splitlines()[-1] == f"Not valid and skipped: {user}/wstpserver.conf"


def test_check_shows_warnings(capfd, user):
    (user / "wstpserver.conf").write_text('{"Pools": {"P": {"InitializationFile": "nothing.wl"}}}')
    code, out, _ = run(capfd, "--check")
    assert code == 0
    assert out.startswith(f"Warning: {user}/wstpserver.conf:1:40: Pools.P.InitializationFile: there is no file")


def test_check_lets_nothing_control_the_terminal(capfd, user):
    """Names and values with escape sequences, bidirectional overrides and line breaks of Unicode."""
    hostile = "a\x1b[2J\x9b\u202e\u2028\x7f"
    folder = user / "a\x1b[2J"
    folder.mkdir()
    (folder / "c").write_text(json.dumps({"Pools": {"P": {"KernelPath": "WolframKernel", "ResetCode": hostile}}}))
    outputs = [run(capfd, "--check", "-c", str(folder / "c"))]
    (folder / "c").write_text(json.dumps({"Pools": {hostile: {hostile: hostile, "KeepAlive": hostile}}}))
    outputs.append(run(capfd, "--check", "-c", str(folder / "c")))
    assert [code for code, _, _ in outputs] == [0, 78]
    for _, out, err in outputs:
        assert "\\x1b[2J" in out + err
        assert all(character.isprintable() or character == "\n" for character in out + err)


def test_check_takes_time_in_proportion_to_the_pools(capfd, user):
    def seconds(count):
        pools = {f"P{number}": {"KernelPath": "WolframKernel", "KeepAlive": True} for number in range(count)}
        (user / "c").write_text(json.dumps({"Pools": pools}))
        began = time.process_time()
        assert run(capfd, "--check", "-c", "c")[0] == 0
        return time.process_time() - began

    seconds(10)
    small = min(seconds(200) for _ in range(3))
    assert seconds(2000) < 20 * small


def test_check_of_a_wrong_file(capfd, user):
    (user / "c").write_text('{"Pools": {"P": {"KernelPath": "/nowhere", "Default": 3}}}')
    code, out, err = run(capfd, "--check", "--configuration-file", "c")
    assert (code, out) == (78, "")
    assert err.splitlines() == [
        f'{user}/c:1:32: Pools.P.KernelPath: there is no file "/nowhere"',
        f"{user}/c:1:55: Pools.P.Default: expected true or false, got 3",
    ]


# The program as a process


def program(*words, **options):
    return subprocess.Popen([sys.executable, "-m", "wstpserver", *words], cwd=ROOT, stderr=subprocess.PIPE, **options)


def test_output_to_a_closed_pipe_makes_no_noise(user):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as output:
        process = program("--help", stdout=output)
        assert process.communicate(timeout=60)[1] == b""


def test_output_to_a_full_disk_makes_no_noise(user):
    with open("/dev/full", "wb") as output:
        process = program("--version", stdout=output)
        assert process.communicate(timeout=60)[1] == b""


def test_paths_that_the_terminal_cannot_show(user):
    folder = user / "größer"
    folder.mkdir()
    path = os.fsencode(folder) + b"/\xff.conf"
    with open(path, "wb") as file:
        file.write(b'{"Pools":{"P":{}}}')
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    process = program("--check", b"-c", path, stdout=subprocess.PIPE, env=environment)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"gr\\xf6\\xdfer/\\udcff.conf" in out


def test_usage_errors_of_the_process(user):
    process = program("--port", "abc", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (64, b"")
    assert err.startswith(b"wstpserver: --port: expected a port number")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["docopt", "gevent"])
def test_a_signal_while_the_program_is_being_imported_is_a_normal_end(user, module, number):
    """A service manager that stops the server right after starting it sees no failure."""
    reader, writer = os.pipe()
    (user / f"{module}.py").write_text(f"import os, time\nos.write({writer}, b'x')\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": f"{user}{os.pathsep}{ROOT}"}
    with open(reader, "rb") as started:
        process = subprocess.Popen(
            [sys.executable, "-m", "wstpserver", "-p", "0"],
            cwd=user, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, pass_fds=[writer],
        )  # fmt: skip
        os.close(writer)
        assert started.read(1) == b"x"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("to_file", [False, True])
def test_a_port_that_is_taken(user, to_file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["-p", str(port), "-i", "127.0.0.1", *(["-f", str(user / "log")] if to_file else [])]
        process = program(*words, stdout=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 69
    assert err.decode().startswith(f"wstpserver: Cannot listen on port {port} and interface 127.0.0.1: the port is in")


def test_a_reason_is_said_once_where_both_streams_are_one(user):
    process = subprocess.Popen(
        [sys.executable, "-m", "wstpserver", "-c", "nothing"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 78
    assert out.count(b"No such file or directory") == 1
