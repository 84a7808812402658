"""The command line, without a kernel."""
import pytest

from wstpserver.embedded.main import parse_arguments

CLASSIC = ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", "1@h,2@h"]


@pytest.mark.parametrize("options", [
    [], ["-wstp"], ["-mathlink"], ["-wstp", "-noprompt"],
    ["-mathlink", "-noinit", "-subkernel", "-pwpath", "/a b", "-x"],
])  # fmt: skip
def test_link_options_make_a_kernel(options):
    arguments = parse_arguments([*options, *CLASSIC])
    assert arguments.action == "kernel"
    assert arguments.link_options == (*options, *CLASSIC)


def test_options_are_compared_without_case():
    assert parse_arguments(["-WSTP", "-linkMode", "Connect", "-LinkName", "1@h"]).action == "kernel"


@pytest.mark.parametrize("options, said", [
    ([], "no link"), (["-noprompt"], "no link"), (["-wstp"], "half of a link"), (["script.wl"], "no link"),
    (["--warm-parent"], "inherited socket"), (["--warm-parent", "x"], "inherited socket"),
])  # fmt: skip
def test_anything_else_is_wrong_usage(options, said):
    arguments = parse_arguments(options)
    assert arguments.action == "usage"
    assert said in arguments.problem


def test_warm_parent_names_its_descriptor():
    arguments = parse_arguments(["--warm-parent", "7"])
    assert (arguments.action, arguments.warm_descriptor) == ("warm-parent", 7)


@pytest.mark.parametrize("word, action", [("--help", "help"), ("-h", "help"), ("--version", "version")])
def test_questions_about_the_program(word, action):
    assert parse_arguments([word]).action == action


@pytest.mark.parametrize("protocol", ["SharedMemory", "sharedmemory", "Pipes", "FileMap"])
def test_another_protocol_is_refused_with_what_to_write(protocol):
    arguments = parse_arguments(["-wstp", "-linkprotocol", protocol, "-linkconnect", "-linkname", "327en_shm"])
    assert arguments.action == "refused"
    assert protocol in arguments.problem and "-linkprotocol TCPIP" in arguments.problem
