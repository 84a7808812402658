"""The samples of the pages: Python is compiled, and run where it is a whole program; configurations are loaded."""

import ast
import doctest
import io
import json
import re
import tokenize

import pytest

from tests.docs.pages import all_pages, page
from wstpserver.cli.admin.status import report
from wstpserver.settings.discovery import Discovered
from wstpserver.settings.loader import Source, load_settings
from wstpserver.settings.schema import POOL_BY_KEY, ROOT_BY_KEY

PAGES = all_pages()

# Configurations


def load(text, folder):
    """The settings in a text; this computer may have no kernel, and none of the kernels that the text names."""
    kernel = folder / "WolframKernel"
    kernel.write_text("#!/bin/sh\n")
    kernel.chmod(0o755)
    (folder / "tokens").write_text("a-token-that-nobody-guesses\n")
    (folder / "tokens").chmod(0o600)
    path = folder / "wstpserver.conf"
    path.write_text(re.sub(r'("KernelPath": *)"/[^"]*"', rf'\1"{kernel}"', text), encoding="utf-8")
    loaded = load_settings(
        Source(path=str(path), environ={}, find_kernel=lambda: Discovered(str(kernel), "wolfram", "here"))
    )
    assert loaded.warnings == ()
    return loaded.settings


def configurations():
    for source in PAGES:
        for number, block in enumerate(source.blocks):
            text = "\n".join(line for line in block.splitlines() if not line.startswith("#"))
            if re.match(r'\{\s*(#.*\s*)*"', text):
                yield pytest.param(block, id=f"{source.name}-{number}")
            elif re.match(r'"\w+": \{', text):  # a pool alone
                yield pytest.param(f'{{"Pools": {{{block}}}}}', id=f"{source.name}-{number}")
        for number, text in enumerate(re.findall(r"^```\n(\{.*?^\})\n```$", source.text, re.MULTILINE | re.DOTALL)):
            yield pytest.param(text, id=f"{source.name}-whole-{number}")


def is_reply(text):
    """Whether a sample is JSON of the server and no configuration."""
    return '"result"' in text or '"status"' in text


@pytest.mark.parametrize("text", [sample for sample in configurations() if not is_reply(sample.values[0])])
def test_samples_of_the_configuration_load(text, tmp_path):
    assert load(text, tmp_path).pools


def test_there_are_samples_of_the_configuration():
    assert len(list(configurations())) >= 5


@pytest.mark.parametrize("source", PAGES, ids=lambda page: page.name)
def test_values_of_the_configuration_in_lines_are_valid(source, tmp_path):
    if source.name in ("docs/reference.md", "docs/embedded-kernel.md"):  # JSON of other kinds
        return
    for key, value in re.findall(r"`\"([A-Z]\w+)\": ?([^`{]+)`", source.text):
        own = {"KernelPath": "/bin/true"} | ({key: json.loads(value)} if key in POOL_BY_KEY else {})
        root = {key: json.loads(value)} if key in ROOT_BY_KEY else {}
        assert key in POOL_BY_KEY or key in ROOT_BY_KEY, key
        load(json.dumps({"Pools": {"Main": own}, **root}), tmp_path)


def test_the_sample_for_parallel_kernels_has_a_pool_for_each_purpose(tmp_path):
    (text,) = [block for block in page("docs/clients/parallel.md").blocks if "IProvideParallelKernels" in block]
    settings = load(text, tmp_path)
    assert (settings.default_pool.name, settings.parallel_pool.name) == ("Main", "IProvideParallelKernels")
    assert settings.parallel_pool.minimum_kernel_number == 4


# What a program prints


def test_the_sample_of_the_status_is_what_the_program_prints():
    def kernel(identifier, state, seconds, evaluations, process, client=None, *, busy=False):
        return {
            "ID": identifier, "State": state, "Busy": busy, "SecondsInState": seconds, "Evaluations": evaluations,
            "ProcessID": process, "Client": client, "Age": 9000, "SecondsBusy": seconds if busy else None,
        }  # fmt: skip

    main = [
        kernel("a806-2645-9651", "bridged", 5, 34, 17568, "Client 3 (127.0.0.1:46074)", busy=True),
        kernel("825c-6cbd-129b", "reserved", 200, 2, 17569),
        kernel("f114-a2b4-4707", "free", 9000, 0, 17571),
    ]
    parallel = [kernel("1111-2222-5555", "free", 9000, 0, 17572), kernel("9aef-ef87-448c", "free", 9000, 0, 17577)]
    numbers = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 4, "WaitingClients": 0}
    pools = {
        "Main": {**numbers, "EntryPool": True, "Kernels": main},
        "Parallel": {**numbers, "ParallelKernelEntryPool": True, "Kernels": parallel},
    }
    shown = "\n".join(line.rstrip() for line in report({"Pools": pools}, "31415@localhost", 80))
    assert f"$ wstpserver-admin status\n{shown}" in page("docs/admin.md").blocks


# Python


def python_blocks():
    """(page, block) of everything that begins like Python; C ends its statements with a semicolon."""
    for source in PAGES:
        for number, block in enumerate(source.blocks):
            first = block.splitlines()[0]
            if re.match(r"(from|import|with|async|def) |\w+ = \w+\(|>>> ", first) and not first.endswith(";"):
                yield pytest.param(block, id=f"{source.name}-{number}")


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_compiles(block):
    if ">>>" in block:
        block = "\n".join(example.source for example in doctest.DocTestParser().get_examples(block))
    compile(block, "page", "exec")


def programs():
    """(page, block) of everything that imports what it uses, and is no transcript: that the tests of the client run."""
    for source in PAGES:
        for number, block in enumerate(source.blocks):
            if re.match(r"(from|import) \w", block):
                yield pytest.param(block, id=f"{source.name}-{number}")


class Checked(ast.NodeTransformer):
    """Gives the value of each expression that has a comment behind it to a function, with the comment."""

    def __init__(self, text):
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = [token for token in tokens if token.type == tokenize.COMMENT]
        self._comments = {token.start[0]: token.string[1:].strip() for token in comments}
        self.count = 0

    def visit_Expr(self, node):
        comment = self._comments.get(node.end_lineno)
        if comment is None:
            return node
        self.count += 1
        check = ast.Name("check_value", ast.Load())
        call = ast.Call(check, [node.value, ast.Constant(comment)], [])
        return ast.copy_location(ast.Expr(call), node)


def check_value(value, comment):
    assert re.sub(r"\s", "", repr(value)) == re.sub(r"\s", "", comment)


def run_block(block, address):
    checked = Checked(block)
    tree = checked.visit(ast.parse(re.sub(r"31415@\w+", address, block)))
    names = {"check_value": check_value, "__name__": "page"}
    exec(compile(ast.fix_missing_locations(tree), "page", "exec"), names)
    return checked.count


@pytest.mark.parametrize("block", list(programs()))
@pytest.mark.timeout(240)
def test_programs_run(block, server, capsys, tmp_path, monkeypatch):
    pytest.importorskip("numpy")
    monkeypatch.chdir(tmp_path)
    checked = run_block(block, server)
    assert checked or capsys.readouterr().out.strip()


@pytest.mark.timeout(240)
def test_the_program_with_a_profile(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in page("docs/client.md").blocks if "Session.from_profile(" in block]
    assert run_block(f"from wstpserver.client import Session\n{block}", server) == 1
