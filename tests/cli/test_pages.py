"""docs/install.md and docs/troubleshooting.md: links lead somewhere, names exist, messages are the program's."""

import json
import re
from pathlib import Path

import pytest

from wstpserver.settings import ServerSettings
from wstpserver.settings.schema import OPTIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAMES = ("install.md", "troubleshooting.md", "operating.md")
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in NAMES}


def anchors(text):
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_headings_that_exist(name):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", PAGES[name]):
        path = DOCS / (target or name)
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize("name", PAGES)
def test_keys_are_keys_of_the_schema(name):
    known = {option.key for option in OPTIONS}
    begin = "Maximum|Minimum|Kernel|Initialization|Allow|Reserve|Show|Parallel"
    assert set(re.findall(rf"`\"?((?:{begin})\w+)", PAGES[name])) <= known


def test_messages_are_those_of_the_program():
    """The first column of the tables and what begins an entry of a list, in code marks."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "wstpserver").rglob("*.py"))
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)
    text = PAGES["troubleshooting.md"]
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", text, re.MULTILINE) + re.findall(r"^- (`[^`]*`):", text, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]*)`", cell)]
    assert len(messages) > 10
    for message in messages:
        for part in message.split("..."):
            if len(part.strip()) > 8:
                assert part.strip() in sources, message


def test_extras_are_those_of_the_package():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = \[", table, re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \| ", PAGES["install.md"], re.MULTILINE)
    assert set(rows) == set(extras) - {"test"}


def test_the_sample_is_valid():
    (sample,) = re.findall(r"^    (\{.*\})$", PAGES["troubleshooting.md"], re.MULTILINE)
    values = json.loads(sample)
    pools = [{"name": name, "KernelPath": "kernel", **keys} for name, keys in values.pop("Pools").items()]
    assert ServerSettings.build(pools=pools, **values).kernel_start_timeout == 180
