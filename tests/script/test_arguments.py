"""The command line: one dash or two, in any order, and what is wrong."""

import pytest

from wstpserver.cli.options import UsageError
from wstpserver.cli.script.arguments import DOCUMENT, NAMES, ScriptArguments, parse
from wstpserver.client import LinkSyntaxError


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["-code", "2+2"], ScriptArguments(code="2+2")),
        (["--code", "2+2"], ScriptArguments(code="2+2")),
        (["-c", "2+2"], ScriptArguments(code="2+2")),
        (["-code=a=b"], ScriptArguments(code="a=b")),
        (["-code", "-1+2"], ScriptArguments(code="-1+2")),
        (["-code", "-file"], ScriptArguments(code="-file")),
        (["-code", ""], ScriptArguments(code="")),
        (["-CODE", "x"], ScriptArguments(code="x")),
        (["-wstpserver", "-code", "x"], ScriptArguments(code="x")),
        (["-wstpserver", "1@h", "-code", "x"], ScriptArguments(code="x", address="1@h")),
        (["-code", "x", "-wstpserver"], ScriptArguments(code="x")),
        (["-code", "x", "--wstpserver=1@h"], ScriptArguments(code="x", address="1@h")),
        (["-code", "x", "-wstpserver", "wstp://h/pool"], ScriptArguments(code="x", address="wstp://h/pool")),
        (["-file", "a.wl", "-print"], ScriptArguments(file="a.wl", print_result=True)),
        (["-f", "-"], ScriptArguments(file="-")),
        (["-timeout", "2", "-code", "x"], ScriptArguments(code="x", timeout=2.0)),
        (["-timeout=.5", "-code", "x"], ScriptArguments(code="x", timeout=0.5)),
        (["-h"], ScriptArguments(help=True)),
        (["--help", "-code", "x"], ScriptArguments(code="x", help=True)),
        (["-version"], ScriptArguments(version=True)),
        ([], ScriptArguments()),
        (["-wstpserver"], ScriptArguments()),
        (["-kernelpool", "P", "-wstpserver", "1"], ScriptArguments(kernel_pool="P", address="1")),
        (["-wstpserver", "wstp://h/P", "-kernelpool", "P"], ScriptArguments(kernel_pool="P", address="wstp://h/P")),
        (["-wstpserver", "-startprofile"], ScriptArguments(start_profile="")),
        (["-startprofile", "p", "-code", "x"], ScriptArguments(start_profile="p", code="x")),
        (["--continueprofile=p"], ScriptArguments(continue_profile="p")),
        (["-continueprofile", "-print"], ScriptArguments(continue_profile="", print_result=True)),
    ],
)
def test_words(words, meaning):
    assert parse(words) == meaning


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-code", "x", "-file", "y"], "exclude"),
        (["-code"], "-code needs a value"),
        (["-code", "x", "-timeout"], "-timeout needs a value"),
        (["-code", "x", "-timeout", "soon"], "needs a number of seconds, not 'soon'"),
        (["-code", "x", "-timeout", "-1"], "needs a number"),
        (["-code", "x", "-code", "y"], "-code is given twice"),
        (["-c", "x", "-code", "y"], "-code is given twice"),
        (["-cod", "x"], "unknown option -cod; did you mean -code"),
        (["-xyzzy"], "unknown option -xyzzy$"),
        (["-code", "x", "-print=yes"], "-print takes no value"),
        (["-startprofile", "-continueprofile"], "-startprofile and -continueprofile exclude each other"),
        (["-continueprofile", "-kernelpool", "P"], "a pool cannot be chosen"),
        (["-continueprofile", "-wstpserver", "wstp://h/P"], "a pool cannot be chosen"),
        (["-wstpserver", "wstp://h/P", "-kernelpool", "Q"], "-kernelpool Q is not the pool P of the address"),
        (["-kernelpool", ""], "-kernelpool needs a name"),
        (["-kernelpool"], "-kernelpool needs a value"),
    ],
)
def test_wrong_words(words, says):
    with pytest.raises(UsageError, match=says):
        parse(words)


def test_a_wrong_address():
    with pytest.raises(LinkSyntaxError, match="'99999' is not a port"):
        parse(["-code", "x", "-wstpserver", "99999@h"])


def test_the_help_names_every_option():
    for name in NAMES:
        assert f"-{name}" in DOCUMENT
