"""The pages about clients: their links lead somewhere, and what is to be typed is what the tests use."""

from __future__ import annotations

import re

import pytest

from tests.scenarios.frontend import LINK_OPTIONS
from tests.support.packets import HEAD_BY_NAME
from tests.support.server import ROOT
from wstpserver.settings.discovery import Discovered
from wstpserver.settings.loader import Source, load_settings

PAGES = [ROOT / "docs" / "clients.md", *sorted((ROOT / "docs" / "clients").glob("*.md"))]
OPTIONS = LINK_OPTIONS.format(port=31415, host="localhost")


OTHERS = [ROOT / "README.md", ROOT / "docs" / "wstpscript.md"]


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_there_is_a_page_for_each_client():
    index = PAGES[0].read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"(clients/{page.name})" in index


@pytest.mark.parametrize("page", ["clients.md", "clients/notebook.md"])
def test_the_arguments_to_mlopen(page):
    assert OPTIONS in [line.strip() for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()]


def test_packets_have_their_names():
    for page in PAGES:
        for name in re.findall(r"\b[A-Z]\w+Packet\b", page.read_text(encoding="utf-8")):
            # functions of the library may end in the same word
            assert name in HEAD_BY_NAME or name in ("WSNextPacket", "WSNewPacket", "WSEndPacket"), page.name


def test_the_configuration_of_the_parallel_page(tmp_path):
    text = (ROOT / "docs" / "clients" / "parallel.md").read_text(encoding="utf-8")
    path = tmp_path / "wstpserver.conf"
    path.write_text(text[text.index("       # wstpserver.conf") :].split("\n\n")[0], encoding="utf-8")
    # this computer may have no kernel
    source = Source(path=str(path), environ={}, find_kernel=lambda: Discovered("/bin/true", "wolfram", "here"))
    settings = load_settings(source).settings
    assert [pool.name for pool in settings.pools] == ["Main", "IProvideParallelKernels"]
    assert (settings.default_pool.name, settings.parallel_pool.name) == ("Main", "IProvideParallelKernels")
    assert settings.parallel_pool.minimum_kernel_number == 4
