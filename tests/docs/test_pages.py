"""What the pages name exists: links, files, modules, keys, packets, messages. And how they say it."""

import ast
import builtins
import importlib
import re

from tests.docs.pages import all_pages, page
from tests.scenarios.frontend import LINK_OPTIONS
from tests.support.cases import for_all, for_each
from tests.support.packets import HEAD_BY_NAME
from tests.support.settings import OPTIONS
from tools.harness.server import ROOT
from wstpserver import client
from wstpserver.client import parallel, parse_link_options

PAGES = all_pages()
KEYS = {option.key for option in OPTIONS} | {"Parallel"}

every_page = for_each(PAGES, lambda page: page.name)


# Links and files


@every_page
def test_links_lead_to_files_and_headings_that_exist(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.text):
        if target.startswith(("http://", "https://")):
            continue
        path = page.path.parent / target if target else page.path
        assert path.exists(), target
        if anchor:
            name = path.resolve().relative_to(ROOT).as_posix()
            assert anchor in next(other.anchors for other in PAGES if other.name == name), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_the_first_one():
    reached, waiting = set(), ["README.md"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        source = page(name)
        for target in re.findall(r"\]\(([^)#\s:]+\.md)", source.text):
            linked = (source.path.parent / target).resolve().relative_to(ROOT).as_posix()
            if linked not in reached:
                waiting.append(linked)
    assert reached == {page.name for page in PAGES}


def test_the_first_page_lists_every_page():
    listed = set(re.findall(r"^\| \[[^]]*\]\(([^)]*)\)", page("README.md").text, re.MULTILINE))
    below = {page.name for page in PAGES if page.name.startswith("docs/clients/")}  # docs/clients.md lists these
    assert listed == {page.name for page in PAGES} - below - {"README.md"}


def test_there_is_a_page_for_each_client():
    listed = set(re.findall(r"\]\((clients/[^)#]*)\)", page("docs/clients.md").text))
    assert {f"docs/{target}" for target in listed} == {page.name for page in PAGES if "/clients/" in page.name}


@every_page
def test_files_of_the_project_exist(page):
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    layers = "|".join(path.name for path in (ROOT / "wstpserver").iterdir() if path.is_dir() and path.name[0] != "_")
    for span in page.spans:
        if re.fullmatch(rf"({folders})(/[\w.-]+)+/?", span) and not span.startswith("build/"):
            assert (ROOT / span).exists() or (ROOT / "wstpserver" / span).exists(), span
        elif re.fullmatch(rf"({layers})(/[\w.-]+)*\.(py|wl)", span):
            assert (ROOT / "wstpserver" / span).exists(), span


def resolves(name):
    """Whether a dotted name is a module, or a name in one, or a class of a module of a package (`pools.Registry`)."""
    parts = name.split(".")
    if parts[-1][0].isupper() and len(parts) == 3:
        modules = (ROOT / parts[0] / parts[1]).glob("*.py")
        return any(re.search(rf"^class {parts[2]}\b", module.read_text("utf-8"), re.MULTILINE) for module in modules)
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@every_page
def test_modules_and_names_of_python_exist(page):
    layers = "cli|client|embedded|pools|server|settings|wire"
    for name in re.findall(r"\bwstpserver(?:\.[a-z_]\w*)+(?:\.[A-Z]\w*)?", page.text):
        if not re.search(r"\.(conf|service|plist|log|fish)$", name):
            assert resolves(name), name
    for span in page.spans:
        if re.fullmatch(rf"({layers})(\.\w+)+", span) and not span.endswith(".py"):
            assert resolves(f"wstpserver.{span}"), span


@for_all("name", ["docs/client.md", "docs/parallel.md"])
def test_exceptions_of_python_exist(name):
    for cells in page(name).rows:
        for name in re.findall(r"`([A-Z]\w+(?:Error|Timeout|Lost|Died|Gone|Closed|Aborted))`", cells[0]):
            assert hasattr(client, name) or hasattr(parallel, name) or hasattr(builtins, name), name


# The configuration


@every_page
def test_keys_of_the_configuration_exist(page):
    begin = "Maximum|Minimum|Initialization|Allow|ReserveP|Show|Keep|Kernel[POMSW]|Send|Enable"
    for name in re.findall(rf"`\"?((?:{begin})[A-Za-z]+)\"?(?:`|:| )", page.text):
        known = name in KEYS or hasattr(client, name)
        assert known, name
    for name in re.findall(r"`\"(\w+)\": ?(?:true|false|\d+|\")", page.text):
        assert name in KEYS or page.name in ("docs/reference.md", "docs/embedded-kernel.md"), name


def test_the_table_of_keys_is_that_of_the_schema():
    rows = re.findall(r"^\| `(\w+)` \|", page("docs/configuration.md").text, re.MULTILINE)
    assert sorted(rows) == sorted(option.key for option in OPTIONS)


# What is to be typed, and what is shown


@every_page
def test_link_options_name_a_host(page):
    for options in re.findall(r"-linkmode connect [^\"`\n]*-linkname [^\"`\n]*", page.text):
        options = options.replace("PORT@HOST", "31415@localhost")
        address = parse_link_options(options.strip()).address
        assert re.search(r"-linkname \d+@", options), options
        assert address.link_name


def test_front_ends_are_told_the_same_everywhere():
    lines = {line.strip() for page in PAGES for line in page.text.splitlines()}
    as_in_tests = LINK_OPTIONS.format(port=31415, host="localhost")
    assert {line for line in lines if line.startswith("-linkmode connect")} == {as_in_tests}


@every_page
def test_packets_have_their_names(page):
    functions = {"WSNextPacket", "WSNewPacket", "WSEndPacket", "WSCommandPacket"}
    for name in re.findall(r"\b[A-Z]\w+Packet\b", page.text):
        assert name in HEAD_BY_NAME or name in functions or hasattr(client, name), name


def test_messages_in_the_page_on_troubleshooting_are_those_of_the_program():
    """The first column of the tables and what begins an item of a list, in code marks."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "wstpserver").rglob("*.py"))
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)
    text = page("docs/troubleshooting.md").text
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", text, re.MULTILINE) + re.findall(r"^- (`[^`]*`):", text, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]*)`", cell)]
    messages += re.findall(r"`([A-Z][^`]* [^`]*)` in the log", text)
    assert len(messages) > 10
    for message in messages:
        for part in re.split(r"\.\.\.|\b0\b", message):
            if len(part.strip()) > 8:
                assert part.strip() in sources, message


def test_extras_are_those_of_the_package():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| ", page("docs/install.md").section("## Installing"), re.MULTILINE)
    assert set(rows) == extras - {"test"}
    for other in PAGES:
        for names in re.findall(r"pip install [^\n`]*\[([\w,]+)\]", other.text):
            assert set(names.split(",")) <= extras, other.name


# How it is said

#: Turns of phrase that are a translation, not English, and what to write instead.
PHRASES = {
    r"evaluates whatever anyone sends": "anyone who can reach the port can run code on the server",
    r"counts as not set": "counts as unset",
    r"for one( of them)? (are|is) told so\b": "clients that wait for one are told",
    r"last words": "last output",
    r"At its end it is": "... when the server stops",
    r"what travels": "the traffic",
    r"\bis hurt\b": "is affected",
    r"may stand only once": "may appear only once",
    r"\bSo many (parallel )?kernels\b": "this many kernels",
    r"\b0 for any\b(?! free)": "0 for no limit",
    r"looked at once a second": "checked once a second",
    r"\bis passed over\b": "is skipped",
    r"\btime over\b": "timed out",
    r"numbers go on where": "numbering continues",
    r"is said in one line": "each error is one line",
    r"is no Wolfram Language": "is not valid Wolfram Language",
    r"What no expression stands for": "values with no equivalent",
    r"spares the time on the way": "saves round trips",
    r"the same methods, to be awaited": "the same methods as coroutines",
    r"\bwhat is no\b": "is not",
    r"come back by the kernel's ID": "reconnect by kernel ID",
    r"\bWho (has|lost|must|waits|waited)\b": "a client that ...",
    r"\bgone on with\b": "continued",
    r"\b(birth|burial|bury|buried|bereaved)\b": "a literal word",
}


#: What is in every text that has the phrase, in small letters: looking for that takes a hundredth of the time.
CORES = {phrase: max(re.split(r"\\b|\(.*?\)\??", phrase), key=len).lower() for phrase in PHRASES}


def complaints(text):
    """The phrases in a text, and what to write instead."""
    text = re.sub(r"\s+", " ", text)
    small = text.lower()
    found = {phrase: re.search(phrase, text, re.IGNORECASE) for phrase in PHRASES if CORES[phrase] in small}
    return [f"{match.group()!r}: write {PHRASES[phrase]!r}" for phrase, match in found.items() if match]


@every_page
def test_pages_are_in_plain_english(page):
    assert complaints(page.prose) == []


def shown_texts(path):
    """The strings of a module that a user may read: all but docstrings, and the help text of a program."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value) for node in ast.walk(tree)
        if isinstance(node, described) and node.body and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and (id(node) not in docstrings or "\nUsage:\n" in text):
            yield text


def test_messages_of_the_programs_are_in_plain_english():
    modules = sorted((ROOT / "wstpserver").rglob("*.py"))
    # a look at all of the text first, its strings joined, tells which modules need a closer one
    wordings = {path: re.sub(r'"\s*\n\s*[rf]?"', "", path.read_text(encoding="utf-8")) for path in modules}
    modules = [path for path in modules if complaints(wordings[path])]
    texts = {path: [line for text in shown_texts(path) for line in complaints(text)] for path in modules}
    assert {path.name: lines for path, lines in texts.items() if lines} == {}
