"""docs/reference.md: every command, function and key of the information about the server, as they are."""

import json
import re

import pytest

from tests.docs.pages import all_pages, page
from tests.support.cases import for_each
from tests.support.serving import ERROR, MALFORMED, SUCCESS, join, kernel_id, serving
from tools.harness.fake_kernel.codec import Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, pool
from tools.harness.waiting import wait_for
from wstpserver.pools import commands
from wstpserver.pools.commands import ADMINISTRATIVE, FORMS, MalformedCommand, parse_command
from wstpserver.pools.states import KernelState
from wstpserver.settings.schema import POOL_BY_KEY
from wstpserver.wire.values import Function as WireFunction
from wstpserver.wire.values import Symbol as WireSymbol

PAGE = page("docs/reference.md")

#: What stands for an argument in the tables, and such an argument.
ARGUMENTS = {
    '"id"': "a806-2645-9651", '"specifier"': "Main", '"command line"': "kernel", "seconds": 1.5,
    "setting": WireSymbol("True"), '"pool"': "Main", '"client"': "999999", '"token"': "a-token-that-nobody-guesses",
}  # fmt: skip


def read_form(text):
    """(name, arguments as they are written) of a command or function."""
    name, arguments = re.fullmatch(r"(?:WSTPServer`)?(\w+)\[(.*)\]", text).groups()
    return name, tuple(re.findall(r'"[^"]*"|\w+', arguments))


COMMANDS = [(*read_form(cells[0].strip("`")), cells[1]) for cells in PAGE.table("command")]
ADMINISTRATIVE_COMMANDS = [
    (*read_form(form), cells[1])
    for cells in PAGE.table("administrative command")
    for form in re.findall("`(.+?)`", cells[0])
]
FUNCTIONS = [
    (*read_form(form), cells[1])
    for cells in PAGE.table("function")
    for form in re.findall(r"``(.+?)``(?!`)", cells[0])
]


# Commands


@for_each(COMMANDS + ADMINISTRATIVE_COMMANDS)
def test_a_command_of_the_table_is_well_formed(case):
    name, arguments, _ = case
    values = tuple(ARGUMENTS[argument] for argument in arguments)
    command = parse_command(WireFunction(WireSymbol("WSCommandPacket"), (WireFunction(WireSymbol(name), values),)))
    assert (command.name, len(command.arguments)) == (name, len(values))
    for wrong in range(len(values)):  # a list is right nowhere
        spoiled = (*values[:wrong], WireFunction(WireSymbol("List"), ()), *values[wrong + 1 :])
        with pytest.raises(MalformedCommand):
            parse_command(WireFunction(WireSymbol("WSCommandPacket"), (WireFunction(WireSymbol(name), spoiled),)))


def test_the_table_has_every_form_of_every_command():
    commands_listed = COMMANDS + ADMINISTRATIVE_COMMANDS
    listed = {(name, len(arguments)) for name, arguments, _ in commands_listed}
    assert len(listed) == len(commands_listed)
    assert {name for name, _, _ in ADMINISTRATIVE_COMMANDS} == ADMINISTRATIVE
    assert listed == {(name, len(readers)) for name, forms in FORMS.items() for readers in forms}


def test_the_replies_and_limits_are_those_of_the_server():
    text = PAGE.section("## Commands")
    for reply in (commands.SUCCESS, commands.ERROR, commands.MALFORMED):
        assert f"| `{reply}` |" in text
    assert f"waits up to {commands.DEFAULT_TIMEOUT:.0f} s" in text
    assert f"from 0 to {commands.LONGEST_TIMEOUT:,.0f}" in text
    assert f"more than {commands.MAXIMUM_COMMAND_SIZE:,} bytes" in text


def test_other_pages_name_the_commands_that_exist():
    rows = page("docs/clients/c.md").table("command")
    listed = {name for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}
    assert listed <= set(FORMS)
    for other in all_pages():
        for name in re.findall(r"WSCommandPacket\[([A-Z]\w+)\[", other.text):
            assert name in FORMS, other.name


# Functions in kernels


def functions_of_the_server():
    """(name, number of arguments) of everything that the file of functions defines."""
    text = (ROOT / "wstpserver/server/kernels/functions.wl").read_text(encoding="utf-8")
    definitions = re.findall(r"^WSTPServer`(\w+)\[(.*?)\] :=", text, re.MULTILINE)
    return {(name, len([part for part in arguments.split(",") if part])) for name, arguments in definitions}


def test_the_table_has_every_function():
    assert {(name, len(arguments)) for name, arguments, _ in FUNCTIONS} == functions_of_the_server()


def test_the_embedded_kernel_has_these_functions():
    pytest.importorskip("mathics")
    from wstpserver.embedded.builtins.control import SERVER_BUILTINS

    names = {name for name, _, _ in FUNCTIONS}
    assert {builtin.__name__ for builtin in SERVER_BUILTINS} - {"Success"} == names


def test_the_commands_without_a_function_are_named():
    (sentence,) = re.findall(r"These (?:\w+) commands have no function: (.*?)\. ", re.sub(r"\s+", " ", PAGE.text))
    assert set(re.findall(r"`(\w+)`", sentence)) == set(FORMS) - {name for name, _, _ in FUNCTIONS} - ADMINISTRATIVE


# A server does what the tables say


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    kernel = make_kernel(folder)
    keys = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 8, "KeepAlive": False}
    pools = {"Main": pool(kernel, **keys), "Parallel": pool(kernel, ParallelKernels=True, **keys)}
    with serving(folder, {"Pools": pools}) as process:
        process.kernel = kernel
        for name in pools:
            process.wait_for_log(f"Pool {name} is ready")
        yield process


def test_information_about_clients_is_as_shown(server):
    (block,) = [block for block in PAGE.blocks if '"SecondsIdle"' in block]
    shown = json.loads(block)["result"]
    with join(server) as link:
        told = json.loads(link.command("GetClientInformation"))["result"]
    assert list(told) == list(shown)
    assert list(told["Clients"][0]) == list(shown["Clients"][0])
    assert [cells[0].strip("`") for cells in PAGE.table("key of a client")] == list(shown["Clients"][0])


@pytest.mark.parametrize(("name", "arguments", "result"), COMMANDS)
def test_a_command_has_the_result_of_the_table(server, name, arguments, result):
    values = {'"specifier"': "Main", '"command line"': server.kernel, "seconds": 20, "setting": Symbol("False")}
    values['"token"'] = "any, because the server knows none"
    with join(server) as link, join(server) as other:
        values['"id"'] = kernel_id(other)
        given = [values[argument] for argument in arguments]
        if name == "StopServer":
            return  # tests/keeper/test_crash.py does that
        if name == "GetMissedOutput":
            dropped, packets = link.command(name).args
            assert (dropped, list(packets.args)) == (0, [])
            return
        reply = link.command(name, *given)
        told = json.loads(reply).get("result")
        if result == "success":
            assert reply == SUCCESS
        elif result == "the ID":
            assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}", told)
        elif result == "the name":
            assert told == "Main"
        elif result.startswith("the number"):
            assert told.isdecimal()
        elif "[an object]" in result:
            assert {"Pools", "KernelsOutsidePools", "ServerVersion"} <= set(told)
        else:
            assert f'`"{told}"`' in result


def test_commands_about_the_kernel_fail_without_one(server):
    text = PAGE.section("## Commands")
    without = re.search(r"fail if the client has none: (.*?) and the three", re.sub(r"\s+", " ", text))[1]
    named = set(re.findall(r"`(\w+)(?:\[\])?`", without)) | {name for name in FORMS if name.startswith("Set")}
    with join(server) as link:
        assert link.command("DisconnectKernel") == SUCCESS
        failing = {
            name for name in set(FORMS) - ADMINISTRATIVE
            if name not in ("CloseKernel", "ConnectKernel", "ConnectParallelKernel", "StartKernel")
            and link.command(name, *([Symbol("True")] if name.startswith("Set") else [])) == ERROR
        }  # fmt: skip
        assert link.command("GetServerInformation", 1) == MALFORMED
    assert failing == named


# The information about the server


def sample():
    (block,) = [block for block in PAGE.blocks if '"KernelsOutsidePools"' in block]
    return json.loads(block)["result"]


def test_the_sample_has_the_keys_that_the_server_sends(server):
    with join(server) as link:

        def settled():
            told = json.loads(link.command("GetServerInformation"))["result"]
            started = [kernel["State"] != "starting" for each in told["Pools"].values() for kernel in each["Kernels"]]
            return told if all(started) else None

        told = wait_for(settled)  # the kernel of a test before this one may be being replaced
    shown = sample()
    assert list(shown) == list(told)
    (shown_pool,), (told_pool, _) = shown["Pools"].values(), told["Pools"].values()
    assert list(shown_pool) == list(told_pool)
    (shown_kernel,) = shown_pool["Kernels"]
    assert list(shown_kernel) == list(told_pool["Kernels"][0])
    for kernel in told_pool["Kernels"]:
        for key, value in kernel.items():
            kinds = (int, float) if isinstance(shown_kernel[key], float) else type(shown_kernel[key])
            assert value is None or isinstance(value, kinds), key
    for key, value in told_pool.items():
        assert isinstance(value, type(shown_pool[key])), key


def test_the_tables_explain_every_key():
    (shown,) = sample()["Pools"].values()
    rows = PAGE.table("key of a pool")
    assert [cells[0].strip("` *") for cells in rows] == list(shown)
    assert [cells[0].strip("` *") for cells in PAGE.table("key of a kernel *")] == list(shown["Kernels"][0])
    for cells in rows:
        if "as in" in cells[1]:
            assert cells[0].strip("` *") in POOL_BY_KEY


@pytest.mark.parametrize("shown", [True, False])
def test_the_initialization_code_is_shown_unless_the_configuration_hides_it(tmp_path, shown):
    assert "empty if `ShowInitializationCode` is false" in PAGE.text
    code = "password = 1"
    pools = {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=1, InitializationCode=code)}
    with serving(tmp_path, {"Pools": pools, "ShowInitializationCode": shown}) as process, join(process) as link:
        told = json.loads(link.command("GetServerInformation"))["result"]
    assert told["Pools"]["Main"]["InitializationCode"] == (code if shown else "")


def test_the_states_of_a_kernel_are_those_that_there_are():
    (row,) = [cells[1] for cells in PAGE.table("key of a kernel *") if cells[0] == "`State`"]
    states = set(re.findall(r"`([a-z]+)`", row))
    assert states == {state.value for state in KernelState} - {KernelState.GONE.value}
