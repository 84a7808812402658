"""The command line of wstpserver-admin."""

import pytest

from wstpserver.cli.admin.main import DOCUMENT, AdminArguments, main, parse
from wstpserver.cli.options import UsageError
from wstpserver.client import LinkSyntaxError

ID = "a806-2645-9651"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status"], AdminArguments("status")),
        (["status", "--json", "-w", "-i", ".5"], AdminArguments("status", json=True, watch=True, interval=0.5)),
        (["-jw", "--interval=3", "status"], AdminArguments("status", json=True, watch=True, interval=3.0)),
        (["--server", "31416@host", "status"], AdminArguments("status", "31416@host")),
        (["status", "-s", "31416"], AdminArguments("status", "31416")),
        (["status", "-swstp://host:31416"], AdminArguments("status", "wstp://host:31416")),
        (["--ser", "31416", "status"], AdminArguments("status", "31416")),
        (["wait"], AdminArguments("wait")),
        (["wait", "-p", "-", "--kernels", "4"], AdminArguments("wait", pool="-", free=4)),
        (["wait", "--pool", "status", "-t1.5"], AdminArguments("wait", pool="status", timeout=1.5)),
        (["start"], AdminArguments("start")),
        (["start", "-c", "/a/kernel --x -y"], AdminArguments("start", command_line="/a/kernel --x -y")),
        (["close", ID, ID.upper()], AdminArguments("close", kernels=(ID, ID))),
        (["connect", ID], AdminArguments("connect", kernels=(ID,))),
        (["kick", "3", "Client 4", "1.2.3.4:5"], AdminArguments("kick", clients=("3", "4", "1.2.3.4:5"))),
        (["top", "-oi3", "-S", "m"], AdminArguments("top", once=True, interval=3.0, sort="m")),
        (["drain", "-p", "Main", "-t", "60"], AdminArguments("drain", pool="Main", timeout=60.0)),
        (["drain", "-t", "60", "--kick", "--kick-idle", "5"],
         AdminArguments("drain", timeout=60.0, kick_idle=5.0, kick=True)),
        (["pause", "--json"], AdminArguments("pause", json=True)),
        (["--help", "nonsense"], AdminArguments(help=True)),
        (["--version"], AdminArguments(version=True)),
    ],
)
def test_what_it_means(words, expected):
    assert parse(DOCUMENT, words) == expected


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "a command is needed: status, wait, start, close, abort, connect"),
        (["-s", "31416"], "a command is needed"),
        (["stats"], "unknown command 'stats'; did you mean status?"),
        (["frobnicate"], "unknown command 'frobnicate'; the commands are status, wait"),
        (["status", "all"], "unexpected argument 'all' after status"),
        (["status", "--pool", "x"], "--pool belongs to wait, close, clients, drain, pause and resume, not to status"),
        (["drain", "--kick"], "--kick says what happens after --timeout; it has no meaning without"),
        (["wait", "--json"], "--json belongs to status, clients, kick, top, drain, pause and resume, not to wait"),
        (["status", "--jsn"], "unknown option --jsn; did you mean --json?"),
        (["status", "--json=yes"], "--json takes no value"),
        (["status", "--json", "-j"], "--json is given twice"),
        (["status", "-x"], "unknown option -x"),
        (["status", "--interval", "3"], "--interval says how often --watch looks"),
        (["status", "-w", "-i", "0"], "--interval needs a number of seconds greater than 0, not '0'"),
        (["wait", "-t", "soon"], "--timeout needs a number of seconds greater than 0, not 'soon'"),
        (["wait", "-t", "-1"], "--timeout needs"),
        (["wait", "-k", "0"], "--kernels needs a number of kernels, 1 or more, not '0'"),
        (["wait", "-k"], "--kernels needs a value"),
        (["wait", "-p", ""], "--pool needs a value"),
        (["close"], "close needs the ID of a kernel"),
        (["kick"], "kick needs the number or the address of a client"),
        (["top", "--sort", "x"], "--sort needs one of the keys k, p, s, b, e, c, m, not 'x'"),
        (["close", "Main"], "'Main' is not a kernel ID such as"),
        (["connect", ID, ID], f"unexpected argument '{ID}' after connect"),
        (["-s", "wstp://host:31416/Main", "status"], "--server wstp://host:31416/Main: a server is needed"),
    ],
)
def test_what_is_wrong(words, problem, capsys):
    with pytest.raises(UsageError, match=problem.replace("?", r"\?")):
        parse(DOCUMENT, words)
    assert main(words) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"wstpserver-admin: {problem}")
    assert err.endswith("Try 'wstpserver-admin --help'.\n")


def test_no_address(capsys):
    with pytest.raises(LinkSyntaxError):
        parse(DOCUMENT, ["-s", "a b@", "status"])
    assert main(["-s", "99999", "status"]) == 64
    assert "'99999' is not a port" in capsys.readouterr().err


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == DOCUMENT
    assert max(map(len, DOCUMENT.splitlines())) <= 120
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wstpserver-admin ")
