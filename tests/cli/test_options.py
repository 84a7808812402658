"""The words of the command line: values that may be left out, and what is said of mistakes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import for_all
from wstpserver.cli import serve
from wstpserver.cli.options import UsageError, normalise, options_of


def words(*given_words):
    return normalise(serve.DOCUMENT, given_words)


def test_the_options_are_those_of_the_help_text():
    assert [(option.short, option.long, option.value) for option in options_of(serve.DOCUMENT)] == [
        ("h", "help", ""),
        ("l", "log-level", "LEVEL"),
        ("f", "log-file", "[FILE]"),
        ("a", "advertise", "[SERVICE]"),
        ("p", "port", "PORT"),
        ("i", "interface", "INTERFACE"),
        ("c", "configuration-file", "FILE"),
        ("", "check", ""),
        ("", "version", ""),
    ]


@for_all(
    ("line", "expected"),
    [
        ("", ""),
        ("-h", "--help"),
        ("--help --version --check", "--help --version --check"),
        ("-p 1", "--port=1"),
        ("-p1", "--port=1"),
        ("-p=1", "--port=1"),
        ("--port 1", "--port=1"),
        ("--port=1", "--port=1"),
        ("--po 1", "--port=1"),
        ("--conf=x", "--configuration-file=x"),
        ("-f", "--log-file="),
        ("-f x", "--log-file=x"),
        ("-fx", "--log-file=x"),
        ("-f -", "--log-file=-"),
        ("-f -p 1", "--log-file= --port=1"),
        ("--log-file --port 1", "--log-file= --port=1"),
        ("--log-file=", "--log-file="),
        ("--log-file=-p", "--log-file=-p"),
        ("-a", "--advertise="),
        ("-a -f", "--advertise= --log-file="),
        ("-a service -f file", "--advertise=service --log-file=file"),
        ("-hp1", "--help --port=1"),
        ("-hf", "--help --log-file="),
        ("-i ::1 -c /a=b", "--interface=::1 --configuration-file=/a=b"),
    ],
)
def test_words_become_options_with_their_values(line, expected):
    assert words(*line.split()) == expected.split()


@for_all(
    ("line", "message"),
    [
        ("x", "unexpected argument 'x'"),
        ("-", "unexpected argument '-'"),
        ("--", "unexpected argument '--'"),
        ("-f a b", "unexpected argument 'b'"),
        ("-x", "unknown option -x"),
        ("-hx", "unknown option -x"),
        ("--prot 1", "unknown option --prot; did you mean --port?"),
        ("--log", "--log may be any of --log-level, --log-file"),
        ("--zzz", "unknown option --zzz"),
        ("--=1", "unknown option --"),
        ("-p", "--port needs a value (PORT)"),
        ("--port=", "--port needs a value (PORT)"),
        ("-p -i x", "--port needs a value (PORT)"),
        ("-l", "--log-level needs a value (LEVEL)"),
        ("-c --check", "--configuration-file needs a value (FILE)"),
        ("--help=yes", "--help takes no value"),
        ("-p 1 --port 2", "--port is given twice"),
        ("-f -f", "--log-file is given twice"),
    ],
)
def test_mistakes(line, message):
    with pytest.raises(UsageError) as caught:
        words(*line.split())
    assert str(caught.value) == message


any_word = st.text() | st.sampled_from(["-f", "-a", "-p", "1", "--port", "-h", "--", "-", "--log-level", "-l3", "x"])


@given(st.lists(any_word, max_size=6))
def test_any_words_are_parsed_or_refused_with_a_reason(given_words):
    try:
        arguments = serve.parse(given_words)
    except UsageError as error:
        assert str(error) and not str(error).startswith("Usage")
    else:
        assert arguments["given"] <= {f"--{option.long}" for option in options_of(serve.DOCUMENT)}
