"""Every block of code of every page is run: here, by the tests of samples, or by the test that is named here.

Those that cannot be run are listed with the reason.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import all_pages, page
from tests.docs.test_samples import configurations, programs
from tests.support.cases import for_each
from tests.support.terminal import TerminalProgram
from tools.harness.server import ROOT

#: Pages of which every block is a sample that a doctest runs.
DOCTESTS = {
    "docs/client.md": "tests/client/test_documentation.py",
    "docs/python-api.md": "tests/client/test_api_reference.py",
}

#: How a block begins -> the test that does what it says.
ELSEWHERE = {
    ("README.md", "git clone"): "tests/cli/test_run.py",
    ("README.md", "link = WSOpenString"): "tests/interop/test_client_vendor.py",
    ("README.md", "-linkmode connect"): "tests/scenarios/test_notebook_cells.py",
    ("docs/admin.md", "wstpserver-admin: not ready"): "tests/admin/test_commands.py",
    ("docs/admin.md", "wstpserver-admin [--server"): "tests/docs/test_commands.py",
    ("docs/admin.md", "$ wstpserver-admin status"): "tests/docs/test_samples.py",
    ("docs/admin.md", "$ wstpserver-admin close"): "tests/admin/test_control.py",
    ("docs/admin.md", "$ wstpserver-admin clients"): "tests/admin/test_maintenance.py",
    ("docs/agents.md", "wstpserver-mcp --http"): "tests/gateways/test_agents.py",
    ("docs/agents.md", '{"mcpServers"'): "tests/gateways/test_agents.py",
    ("docs/clients/c.md", "link = WSOpenString"): "tests/interop/test_client_vendor.py",
    ("docs/clients/c.md", "$ cd examples"): "tests/scenarios/test_c_binding.py",
    ("docs/clients/c.md", "WSPutFunction"): "tests/scenarios/test_c_binding.py",
    ("docs/clients/kernel.md", "-linkmode launch"): "tests/gateways/test_kernel.py",
    ("docs/clients/kernel.md", '"KernelPath"'): "tests/gateways/test_kernel.py",
    ("docs/clients/notebook.md", "-linkmode connect"): "tests/scenarios/test_notebook_cells.py",
    ("docs/clients/notebook.md", "In["): "tests/scenarios/test_notebook_cells.py",
    ("docs/clients/wolframscript.md", "$ wolframscript"): "tests/scenarios/test_wolframscript.py",
    ("docs/clients/wolframscript.md", "# sampleprofile"): "tests/scenarios/test_wolframscript.py",
    ("docs/clients.md", "-linkmode connect"): "tests/scenarios/test_notebook_cells.py",
    ("docs/clusters.md", '"KernelLauncher": "srun'): "tests/engines/test_slurm.py",
    ("docs/clusters.md", '"KernelLauncher": "ssh'): "tests/engines/test_ssh.py",
    ("docs/embedded-kernel.md", "wstpkernel"): "tests/embedded/test_program.py",
    ("docs/embedded-kernel.md", "-linkmode launch"): "tests/interop/test_vendor_direct.py",
    ("docs/embedded-kernel.md", "link = LinkCreate"): "tests/embedded/test_links.py",
    ("docs/embedded-kernel.md", "In[1]:= Area"): "tests/embedded/test_library.py",
    ("docs/install.md", "buildah"): "tests/cli/test_container.py",
    ("docs/jupyter.md", "pip install"): "tests/gateways/test_jupyter.py",
    ("docs/jupyter.md", "jupyter execute"): "tests/gateways/test_jupyter.py",
    ("docs/jupyter.md", "%"): "tests/gateways/test_magic.py",
    ("docs/jupyter.md", "primes ="): "tests/gateways/test_magic.py",
    ("docs/monitoring.md", "curl"): "tests/docs/test_monitoring.py",
    ("docs/monitoring.md", "scrape_configs"): "tests/docs/test_monitoring.py",
    ("docs/operating.md", "WSTPServer: Logger (0, 2020"): "tests/server/test_log.py",
    ("docs/operating.md", "WSTPServer: Logger (0, 2026"): "tests/server/test_trace.py",
    ("docs/operating.md", "wstpserver [--port"): "tests/docs/test_commands.py",
    ("docs/persistence.md", "wstpserver --port"): "tests/keeper/test_crash.py",
    ("docs/reference.md", "ReturnPacket[{dropped"): "tests/commands/test_commands.py",
    ("docs/restart.md", "wstpserver-admin restart"): "tests/server/test_restart.py",
    ("docs/security.md", "WSTPServer: Logger"): "tests/server/test_access.py",
    ("docs/security.md", "WSCommandPacket[Authenticate"): "tests/server/test_access_tokens.py",
    ("docs/security.md", "[wstpserver]"): "tests/client/test_tls_and_tokens.py",
    ("docs/security.md", "wstpscript"): "tests/client/test_tls_and_tokens.py",
    ("docs/wire-protocol.md", "id="): "tests/wire/test_greeting.py",
    ("docs/wire-protocol.md", "Math Link"): "tests/wire/test_greeting.py",
    ("docs/wire-protocol.md", "A <number"): "tests/wire/test_packed.py",
    ("docs/wolframclient.md", "from wolframclient"): "tests/gateways/test_wolframclient.py",
    ("docs/wolframclient.md", "WolframLanguageSession("): "tests/gateways/test_wolframclient.py",
    ("docs/wstpscript.md", "wstpscript: waiting"): "tests/script/test_taking_kernels.py",
    ("docs/wstpscript.md", "$ wstpscript -code 'Plot"): "tests/script/test_formats.py",
    ("docs/wstpscript.md", "$ wstpscript -code 'Do["): "tests/script/test_script.py",
    ("docs/wstpscript.md", "$ cat power"): "tests/gateways/test_wolframscript.py",
}

_LANGUAGE = "needs another language, and the library of WSTP"
_INSTALLS = "installs from the network"
_ENGINE = "needs an engine that a test cannot start; the launcher's conversation is that of tests/engines"
_SYSTEM = "changes the system, as root; tests/service checks the files"
#: How a block begins -> why it is not run.
NOT_RUN = {
    ("README.md", "tools/test"): "runs all tests",
    ("docs/agents.md", "pip install"): _INSTALLS,
    ("docs/architecture.md", "client"): "a drawing",
    ("docs/clients/languages.md", "let mut link"): _LANGUAGE,
    ("docs/clients/languages.md", "using MathLink"): _LANGUAGE,
    ("docs/clients/languages.md", "String[] words"): _LANGUAGE,
    ("docs/clients/languages.md", "const {execFileSync}"): "needs Node.js; tests/script tries the command",
    ("docs/clusters.md", '"KernelLauncher": "kubectl'): _ENGINE,
    ("docs/clusters.md", '"KernelLauncher": "docker'): _ENGINE,
    ("docs/embedded-kernel.md", "pip install"): _INSTALLS,
    ("docs/install.md", "git clone"): _INSTALLS,
    ("docs/install.md", "/opt/wstpserver"): _INSTALLS,
    ("docs/install.md", "ln -s"): _SYSTEM,
    ("docs/install.md", "useradd"): _SYSTEM,
    ("docs/install.md", "pip install build"): _INSTALLS,
    ("docs/install.md", "git -C"): _INSTALLS,
    ("docs/install.md", "systemctl"): _SYSTEM,
    ("docs/monitoring.md", "livenessProbe"): "needs Kubernetes; tests/server/http asks for the two pages",
    ("docs/monitoring.md", "apiVersion"): "needs Kubernetes; tests/docs/test_monitoring.py checks the metric",
    ("docs/operating.md", "ssh -N"): "needs another machine",
    ("docs/performance.md", "tools/"): "measures for minutes; tests/tools runs each tool for a moment",
    ("docs/performance.md", "python -m tools.bench.restarts"): "measures for minutes; tests/tools runs it for a moment",
    ("docs/troubleshooting.md", "sudo -u"): "needs a Wolfram kernel and an account",
    ("docs/wolframclient.md", "pip install"): _INSTALLS,
}

#: How a block begins that is typed into a shell: what is different when it is run here, as (text, replacement).
SHELL = {
    ("README.md", "$ .venv/bin/wstpscript"): [(".venv/bin/", "")],
    ("docs/admin.md", "wstpserver --log-file"): [
        ("wstpserver --log-file /var/log/wstpserver.log &", ""), ("run-the-tests", "true"),
    ],
    ("docs/admin.md", "eval"): [("~/.config/fish/completions/", ""), ('eval "$(', ""), (')"', "")],
    ("docs/clients/kernel.md", "$ wstpserver-kernel"): [
        ("$ wstpserver-kernel", "$ echo x | wstpserver-kernel"), ("\nx\n", "\n"),
    ],
    ("docs/clients/kernel.md", "$ printf"): [],
    ("docs/install.md", "wstpserver --check"): [("wstpserver --interface localhost", "")],
    ("docs/install.md", "wstpscript"): [],
    ("docs/operating.md", "wstpserver-admin drain"): [],
    ("docs/parallel.md", "$ wstpscript -map"): [("seq 1 100000", "seq 1 20")],
    ("docs/security.md", "(umask"): [],
    ("docs/troubleshooting.md", "wstpserver --check"): [("wstpserver --log-level debug", ": ")],
    ("docs/wstpscript.md", "$ wstpscript -code 'StringReverse"): [],
    ("docs/wstpscript.md", "$ printf"): [],
    ("docs/wstpscript.md", "$ wstpscript -function"): [],
    ("docs/wstpscript.md", "$ wstpscript -startprofile"): [],
}  # fmt: skip


def blocks():
    """(page, text) of all blocks, indented and fenced."""
    for source in all_pages():
        for block in source.blocks:
            yield source.name, block
        for fenced in re.findall(r"^```\w*\n(.*?)^```$", source.text, re.MULTILINE | re.DOTALL):
            yield source.name, fenced.rstrip()


def listed(name, block, table):
    """The keys of a table that mean this block."""
    return [key for key in table if key[0] == name and block.startswith(key[1])]


BLOCKS = list(blocks())
SAMPLES = {parameters.values[0] for parameters in (*configurations(), *programs())}


def is_sample(block):
    return block in SAMPLES or f'{{"Pools": {{{block}}}}}' in SAMPLES


@for_each(BLOCKS)
def test_every_block_is_run_or_says_why_not(case):
    name, block = case
    ways = [is_sample(block) or name in DOCTESTS]
    ways += [bool(listed(name, block, table)) for table in (ELSEWHERE, NOT_RUN, SHELL)]
    assert sum(ways) == 1, f"{name}: add this block to one table of {Path(__file__).name}:\n{block}"


@for_each([*ELSEWHERE, *NOT_RUN, *SHELL], ": ".join)
def test_no_block_is_listed_that_is_not_there(key):
    assert any(name == key[0] and block.startswith(key[1]) for name, block in BLOCKS)


@for_each(sorted({*ELSEWHERE.values(), *DOCTESTS.values()}))
def test_the_tests_that_are_named_exist(path):
    assert "def test_" in (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shell(server, tmp_path_factory):
    """(server's address, environment) for what the pages say to type."""
    folder = tmp_path_factory.mktemp("typed")
    modules = {
        "wstpserver": "wstpserver", "wstpscript": "wstpserver.cli.script.main",
        "wstpserver-admin": "wstpserver.cli.admin.main", "wstpserver-kernel": "wstpserver.cli.kernel",
    }  # fmt: skip
    for name, module in modules.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        program.chmod(0o755)
    address = server.replace("127.0.0.1", "localhost")
    return address, {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(folder),
        "WSTPSERVER": address, "TERM": "dumb",
    }  # fmt: skip


def typed(block):
    """(command, what the page shows below it) of each line that is typed."""
    if not block.startswith("$ "):
        return [(line, []) for line in block.splitlines() if line.strip()]
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.mark.parametrize("key", SHELL, ids=": ".join)
@pytest.mark.timeout(240)
def test_what_is_typed_into_a_shell(shell, key, tmp_path):
    address, environment = shell
    (tmp_path / "numbers.json").write_text("[1, 2, 3]")
    (tmp_path / "sums.wl").write_text("Print[1 + 1]\n")
    (tmp_path / "wstpserver.conf").write_text(json.dumps({"Pools": {"Main": {"KernelPath": "/bin/true"}}}))
    (block,) = [block for name, block in BLOCKS if name == key[0] and block.startswith(key[1])]
    for text, replacement in SHELL[key]:
        assert text in block
        block = block.replace(text, replacement)
    block = block.replace("31415@localhost", address)
    environment = {**environment, "XDG_CONFIG_HOME": str(tmp_path)}
    for command, shown in typed(block):
        command = re.sub(r" {4,}(?=[a-z]).*", "", command)  # an explanation beside it
        if any(line.startswith("In[") for line in shown) and "|" not in command:
            in_a_session(command, shown, tmp_path, environment)
            continue
        result = subprocess.run(
            ["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert result.returncode == 0, f"{command}: {result.stderr}"
        assert not shown or as_shown(result.stdout) == as_shown("\n".join(shown)), command


def as_shown(text):
    """The words of what a program prints; IDs and versions differ."""
    text = re.sub(r"\b[0-9a-f]{4}(-[0-9a-f]{4}){2}\b", "ID", text)
    return re.sub(r"(Mathics3 |at |^)[\d.]+(@\w+)?", r"\1N", text).split()


def in_a_session(command, shown, folder, environment):
    """Type what the page shows behind each prompt, and see that everything appears that it shows."""
    with TerminalProgram(["bash", "-c", command], folder, environment) as terminal:
        for line in filter(None, shown):
            if line.startswith("Out["):
                terminal.expect(line, 60)
            elif not line.startswith("In["):
                terminal.expect(re.compile(r"@localhost, kernel [-0-9a-f]+: Mathics3 .*" + re.escape(line[-40:])), 60)
            if not line.startswith("In["):
                continue
            prompt, _, typed_in = line.partition(":=")
            terminal.expect(f"{prompt}:= ", 60)
            if typed_in.strip():
                terminal.type(typed_in.strip())
            else:
                terminal.keys("\x04")
        assert terminal.wait() == 0


def test_the_pages_that_are_named_are_pages():
    for name in {key[0] for key in (*ELSEWHERE, *NOT_RUN, *SHELL)} | set(DOCTESTS):
        assert page(name).text
