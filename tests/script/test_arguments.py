"""The command line: one dash or two, in any order, and what is wrong."""

import os

import pytest

from wstpserver.cli.options import UsageError
from wstpserver.cli.script.arguments import DOCUMENT, NAMES, ScriptArguments, parse, unfold_script_call
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


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["f.wls"], ScriptArguments(file="f.wls")),
        (["f.wls", "-print", "-x", "y"], ScriptArguments(file="f.wls", words=("-print", "-x", "y"))),
        (["-print", "all", "f", "a"], ScriptArguments(file="f", words=("a",), print_result=True, print_all=True)),
        (["-file", "f", "-print", "-x", "-code"], ScriptArguments(file="f", words=("-x", "-code"), print_result=True)),
        (["-file", "f", "--", "-print"], ScriptArguments(file="f", words=("-print",))),
        (["-script", "f", "a", "b"], ScriptArguments(file="f", words=("a", "b"))),
        (["-script", "f", "--abs", "1", "-h"], ScriptArguments(file="f", words=("--abs", "1", "-h"))),
        (["-", "a"], ScriptArguments(file="-", words=("a",))),
        (["-code", "x", "a", "-timeout", "1"], ScriptArguments(code="x", words=("a",), timeout=1.0)),
        (["-code", "x", "--", "-foo", "7"], ScriptArguments(code="x", words=("-foo", "7"))),
        (["-function", "f", "-args", "1", "-x"], ScriptArguments(function="f", values=("1", "-x"))),
        (["-fun", "f", "-s", "Integer", "Real", "--", "1", "2"],
         ScriptArguments(function="f", signature=("Integer", "Real"), values=("1", "2"))),
        (["-format", "JSON", "-o", "o.json", "-code", "x"],
         ScriptArguments(code="x", format="JSON", output="o.json", print_result=True)),
        (["-charset", "None", "-linewise"], ScriptArguments(charset="None", linewise=True)),
        (["-timeout", "2", "$Aborted", "-code", "x"], ScriptArguments(code="x", timeout=2.0, timeout_value="$Aborted")),
        (["-timeout", "2", "f.wls", "a"], ScriptArguments(file="f.wls", words=("a",), timeout=2.0)),
        (["-v", "-c", "x"], ScriptArguments(code="x", verbose=True)),
    ],
)  # fmt: skip
def test_words_of_wolframscript(words, meaning):
    assert parse(words) == meaning


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-local"], "-local starts a kernel; .* leave it out or name the server: -wstpserver"),
        (["-l", "/usr/bin/wolfram"], "-l starts a kernel"),
        (["-cloud", "-code", "1"], "-cloud is for the cloud"),
        (["-o", "https://www.wolframcloud.com", "-code", "1"], "-o https://www.wolframcloud.com is for the cloud"),
        (["-code", "1", "-o"], "-output needs a value .a file"),
        (["-api", "x"], "is for the cloud"),
        (["--username", "x"], "--username is for the cloud"),
        (["-entitlement", "x"], "is for the licence"),
        (["-activate"], "is for the licence"),
        (["-code", "x", "-function", "f"], "-code and -function exclude each other"),
        (["-code", "x", "-args", "1"], "-args goes with -function"),
        (["-function", "f", "-signature"], "-signature needs types"),
        (["-function", "f", "x"], "unexpected argument 'x'"),
        (["-print=some", "f"], "-print takes no value but all"),
        (["-linewise", "-file", "-"], "standard input holds the lines"),
        (["-format", "", "-code", "x"], "-format needs a value"),
        (["-map", "f", "-over", "-", "-format", "JSON"], "-map prints lines of JSON: -format does not go with it"),
    ],
)
def test_wrong_words_of_wolframscript(words, says):
    with pytest.raises(UsageError, match=says):
        parse(words)


# Called by the system, for the first line of a script


@pytest.mark.parametrize(
    ("line", "words", "meaning"),
    [
        ("/usr/bin/env wolframscript", ["{}", "5", "-print"], {"file": "{}", "words": ("5", "-print")}),
        ("/usr/bin/wolframscript -function", ["-function", "{}", "2", "-3"],
         {"function": "\n#1 + #2 &", "values": ("2", "-3")}),
        ("/usr/bin/env -S wolframscript -function -signature Integer City",
         ["-function", "-signature", "Integer", "City", "{}", "2", "Oxford, England"],
         {"function": "\n#1 + #2 &", "signature": ("Integer", "City"), "values": ("2", "Oxford, England")}),
        ("/usr/bin/wolframscript -fun -s Integer", ["-fun -s Integer", "{}", "2", "3"],
         {"function": "\n#1 + #2 &", "signature": ("Integer",), "values": ("2", "3")}),
        ("/usr/bin/wolframscript -signature 'Of A' -function", ["-signature", "Of A", "-function", "{}"],
         {"function": "\n#1 + #2 &", "signature": ("Of A",)}),
        ("/usr/local/bin/WolframScript -script", ["-script", "{}", "--help", "-o"],
         {"file": "{}", "words": ("--help", "-o")}),
        ("/usr/bin/env -S wolframscript -print All -format PNG", ["-print", "All", "-format", "PNG", "{}"],
         {"file": "{}", "print_result": True, "print_all": True, "format": "PNG"}),
        ("/usr/bin/wolframscript -linewise", ["-linewise", "{}"], {"file": "{}", "linewise": True}),
        # Not called so: the line names other options, or is none.
        ("/usr/bin/env wolframscript -function", ["-print", "{}", "-timeout", "2"],
         {"file": "{}", "print_result": True, "words": ("-timeout", "2")}),
        (None, ["-print", "{}", "a"], {"file": "{}", "print_result": True, "words": ("a",)}),
        ("/usr/bin/wolframscript", ["-function", "{}", "-args", "1"], {"function": "{}", "values": ("1",)}),
    ],
)  # fmt: skip
def test_calls_of_a_script(tmp_path, line, words, meaning):
    script = tmp_path / "a script.wls"
    script.write_text(f"{'' if line is None else f'#!{line}'}\n#1 + #2 &")
    named = {key: str(script) if value == "{}" else value for key, value in meaning.items()}
    assert parse(unfold_script_call([word.replace("{}", str(script)) for word in words])) == ScriptArguments(**named)


def test_a_pipe_is_not_read_for_that(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert unfold_script_call(["-file", str(tmp_path / "pipe")]) == ["-file", str(tmp_path / "pipe")]
