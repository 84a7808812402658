"""Every command line, option, exit code and environment variable of the pages is one of the programs'."""

import contextlib
import importlib
import io
import os
import re
from functools import cache

import pytest
from docopt import docopt

from tests.docs.pages import all_pages, command_lines, page
from tests.support.cases import for_all, for_each
from tools.harness.server import ROOT
from wstpserver.cli import kernel as pool_kernel
from wstpserver.cli import serve
from wstpserver.cli.admin import main as admin
from wstpserver.cli.completion import commands_in, options_in
from wstpserver.cli.script import main as script
from wstpserver.embedded import main as kernel
from wstpserver.embedded import process
from wstpserver.gateways import agents, jupyter
from wstpserver.server.log import LogLevel

COMMAND_LINES = [line for page in all_pages() for line in command_lines(page)]
DOCUMENTS = {
    "wstpserver": serve.DOCUMENT, "wstpscript": script.DOCUMENT, "wstpserver-admin": admin.DOCUMENT,
    "wstpserver-kernel": pool_kernel.DOCUMENT, "wstpserver-jupyter": jupyter.__doc__, "wstpserver-mcp": agents.__doc__,
}  # fmt: skip
#: Programs that take one dash or two.
WITH_ONE_DASH = ("wstpscript", "wstpserver-kernel")
PARSERS = {
    "wstpserver": serve.parse,
    "tools/run": serve.parse,
    "wstpscript": script.parse,
    "wstpserver-kernel": pool_kernel.parse,
    "wstpserver-admin": lambda words: admin.parse(admin.DOCUMENT, words),
    "wstpserver-jupyter": lambda words: docopt(jupyter.__doc__, words),
    "wstpserver-mcp": lambda words: docopt(agents.__doc__, words),
}
#: Scripts of `tools` that take options, and the module that reads them.
MODULES = {"tools/compare": "compare", "tools/soak": "soak", "tools/loadtest": "load", "tools/chaos": "chaos"}


@cache
def options_of_tool(tool):
    """The options that a script of `tools` knows."""
    if tool in MODULES:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            importlib.import_module(f"tools.bench.{MODULES[tool]}.__main__").main(["--help"])
        return set(re.findall(r"--[a-z][\w-]*", text.getvalue()))
    return set(re.findall(r"--[a-z][\w-]*", (ROOT / tool).read_text(encoding="utf-8")))


def options_of_program(program):
    if program in DOCUMENTS:
        options = {word for option in options_in(DOCUMENTS[program]) for word in option.words}
        return options | ({f"-{word}" for word in options} if program in WITH_ONE_DASH else set())
    return options_of_program("wstpserver") if program == "tools/run" else options_of_tool(program)


def test_the_pages_have_command_lines_of_every_program():
    assert {"wstpserver", "wstpscript", "wstpserver-admin", "wstpkernel", "tools/run"} <= {
        line.program for line in COMMAND_LINES
    }


@for_each(COMMAND_LINES, str)
def test_a_command_line_is_one_that_its_program_takes(line):
    if line.program.startswith("tools/"):
        assert (ROOT / line.program).exists()
        assert (ROOT / line.program).is_dir() or os.access(ROOT / line.program, os.X_OK)
    if line.program == "wstpkernel":  # which ignores options of other kernels
        assert line.synopsis or kernel.parse_arguments(line.words).action not in ("usage", "refused")
        return
    if line.program == "wstpserver-kernel":  # likewise
        assert line.synopsis or pool_kernel.parse(list(line.words))
        return
    assert line.options <= options_of_program(line.program)
    if line.program == "wstpserver-admin" and not line.synopsis:
        assert line.words[0].startswith("-") or line.words[0] in commands_in(admin.DOCUMENT)
    if line.synopsis or line.mention:
        return
    if line.program in PARSERS:
        PARSERS[line.program](list(line.words))


# Tables of options: each page with the program that it is about.

OPTION_PAGES = {
    "docs/operating.md": "wstpserver", "docs/wstpscript.md": "wstpscript", "docs/agents.md": "wstpserver-mcp",
}  # fmt: skip


@for_all("name", OPTION_PAGES)
def test_the_table_of_options_is_that_of_the_program(name):
    rows = [cells[0] for cells in page(name).table("option")]
    listed = {word for cell in rows for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", cell)}
    known = {word for option in options_in(DOCUMENTS[OPTION_PAGES[name]]) for word in option.words}
    assert listed == known
    for option in options_in(DOCUMENTS[OPTION_PAGES[name]]):
        if option.value:
            assert any(f"{option.words[-1]} {option.value}`" in cell for cell in rows), option


@for_all("option", options_in(admin.DOCUMENT), ids=lambda option: option.words[-1])
def test_options_of_the_admin_program_are_explained(option):
    assert option.words[-1].removeprefix("--" if option.help.startswith("Print ") else "") in page("docs/admin.md").text


def test_the_levels_of_the_log_are_those_of_the_program():
    rows = page("docs/operating.md").table("level")
    assert [cells[0] for cells in rows] == [f"`{level.name.lower()}`" for level in LogLevel]


@for_all("program", DOCUMENTS)
def test_lines_of_the_help_text_fit(program):
    assert max(map(len, DOCUMENTS[program].splitlines())) <= 120


# Exit codes: the tables of the pages, the help texts and the programs say the same.


def numbers(text):
    return {int(number) for number in re.findall(r"\b\d{1,3}\b", text)}


def codes_in_table(name, title):
    return {code for cells in page(name).table(title) for code in numbers(cells[0])}


def codes_in_help(document, title):
    text = document[document.index(title) + len(title) :]
    return {int(code) for code in re.findall(r"(?:^|; *|;\n)\s*(\d{1,3})\b", text)}


@for_all(("name", "title", "document", "heading"), [
    ("docs/operating.md", "code", serve.DOCUMENT, "Exit codes:"),
    ("docs/wstpscript.md", "exit status", script.DOCUMENT, "Exit status:"),
    ("docs/admin.md", "code", admin.DOCUMENT, "Exit codes:"),
    ("docs/clients/kernel.md", "exit status", pool_kernel.DOCUMENT, "Exit status:"),
])  # fmt: skip
def test_exit_codes_are_those_of_the_help_text(name, title, document, heading):
    assert codes_in_table(name, title) == codes_in_help(document, heading)


def test_exit_codes_of_the_server_are_those_of_the_program():
    codes = {serve.EXIT_OK, serve.EXIT_USAGE, serve.EXIT_INTERNAL, serve.EXIT_CONFIGURATION}
    assert codes_in_table("docs/operating.md", "code") == codes | {69}


def test_exit_codes_of_the_kernel_are_those_of_the_program():
    codes = {value for key, value in vars(process).items() if key.startswith("EXIT_")}
    assert codes_in_table("docs/embedded-kernel.md", "exit code") == codes


# Environment variables


def read_variables():
    """The variables of this project that its programs read: strings of the sources that look like one."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "wstpserver").rglob("*.py"))
    found = set(re.findall(r"""["'](WSTP[A-Z]+(?:_[A-Z]+)*)["']""", sources))
    # the server marks its kernels' environment with the last one; nobody else sets it
    return found - {"WSTP", "WSTPSERVER_INSTANCE"}


def test_environment_variables_are_those_that_the_programs_read():
    scripts = (ROOT / "tools" / "run").read_text(encoding="utf-8") + (ROOT / "tools/harness/vendor.py").read_text()
    of_tools = {name for name in ("WSTPSERVER_EMBEDDED", "WSTP_LIBRARY") if name in scripts}
    named = {name for page in all_pages() for name in re.findall(r"\bWSTP[A-Z]*_[A-Z_]+\b|\bWSTPSERVER\b", page.text)}
    assert named <= read_variables() | of_tools
    assert read_variables() <= named


def test_the_help_text_of_the_server_names_its_variables():
    table = {re.sub("`", "", cells[0]) for cells in page("docs/operating.md").table("environment variable")}
    assert table == set(re.findall(r"\bWSTPSERVER_[A-Z_]+\b", serve.DOCUMENT))
