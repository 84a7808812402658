"""docs/operating.md says what the program does."""

from pathlib import Path

import pytest

from wstpserver.cli import serve
from wstpserver.cli.options import options_of
from wstpserver.server.log import LogLevel
from wstpserver.settings.schema import ENVIRONMENT_VARIABLES

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", options_of(serve.DOCUMENT), ids=lambda option: option.long)
def test_every_option_is_explained(option):
    names = f"-{option.short}`, `--{option.long}" if option.short else f"--{option.long}"
    value = f" {option.value}" if option.value else ""
    assert f"| `{names}{value}` |" in PAGE


@pytest.mark.parametrize("variable", ENVIRONMENT_VARIABLES)
def test_every_variable_is_explained(variable):
    assert f"| `{variable}` |" in PAGE
    assert variable in serve.DOCUMENT


@pytest.mark.parametrize("code", [serve.EXIT_OK, serve.EXIT_USAGE, 69, serve.EXIT_INTERNAL, serve.EXIT_CONFIGURATION])
def test_every_exit_code_is_explained(code):
    assert f"\n| {code} |" in PAGE
    assert f" {code}" in serve.DOCUMENT.partition("Exit codes:")[2]


@pytest.mark.parametrize("level", LogLevel)
def test_every_level_is_explained(level):
    assert f"| `{level.name.lower()}` |" in PAGE
