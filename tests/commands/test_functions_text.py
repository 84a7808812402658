"""The text that defines the WSTPServer functions in a real kernel: it cannot be run without one, but it can be read."""

from __future__ import annotations

import re

import pytest

from wstpserver.pools.commands import FORMS
from wstpserver.server.kernels.initialise import server_functions

DOCUMENTED = {
    "CloseKernel",
    "ConnectKernel",
    "DisconnectKernel",
    "GetKernelID",
    "GetPoolName",
    "GetServerInformation",
    "SetAllowSilentKernelReplacement",
    "SetKeepAlive",
    "SetReserveKernel",
    "StartKernel",
}


def texts():
    return [expression.args[0] for _, expression in server_functions()]


def test_names_are_looked_up_in_a_context_that_was_set_by_a_text_of_its_own():
    first, _, last = texts()
    assert (first, last) == ('Begin["WSTPServer`Private`"];', "End[];")


def test_every_documented_function_is_defined_for_every_number_of_arguments():
    body = texts()[1]
    for name in DOCUMENTED:
        assert f"WSTPServer`{name}::usage = " in body
        for form in FORMS[name]:
            commas = r"[^\[\],]*" + r",[^\[\],]*" * (len(form) - 1) if form else ""
            assert re.search(rf"^WSTPServer`{name}\[{commas}\] :=", body, re.M), (name, len(form))


def test_only_commands_that_the_server_knows_are_sent():
    sent = set(re.findall(r"WSTPServer`Command`(\w+)\[", texts()[1]))
    assert sent == DOCUMENTED <= set(FORMS)


def test_a_parser_reads_it():
    pytest.importorskip("mathics.core.parser", reason="Mathics3 is not installed")
    from mathics.core.definitions import Definitions
    from mathics.core.parser import MathicsMultiLineFeeder, parse

    definitions = Definitions()
    heads = []
    for text in texts():
        feeder = MathicsMultiLineFeeder(text, "<functions.wl>")
        while not feeder.empty():
            expression = parse(definitions, feeder)
            assert not feeder.messages, feeder.messages
            if expression is not None:
                heads.append(str(expression.get_head_name()))
    assert heads.count("System`CompoundExpression") > 2 * len(DOCUMENTED)
