"""docs/admin.md says what the program says."""

import re
from pathlib import Path

import pytest

from wstpserver.cli.admin.main import DOCUMENT
from wstpserver.cli.admin.status import report
from wstpserver.cli.options import options_of
from wstpserver.cli.terminal import ExitCode

PAGE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()


@pytest.mark.parametrize("option", options_of(DOCUMENT), ids=lambda option: option.long)
def test_every_option_is_explained(option):
    assert f"--{option.long}" in PAGE or option.long in ("help", "version")


#: Those of the server alone.
OTHERS = {ExitCode.INTERNAL, ExitCode.CONFIGURATION}


@pytest.mark.parametrize("code", [int(code) for code in ExitCode if code not in OTHERS])
def test_every_exit_code_is_explained(code):
    codes = PAGE[PAGE.index("## Exit codes") :]
    assert re.search(rf"\| ([\d, ]*\b)?{code}\b", codes)
    assert re.search(rf"\b{code}\b", DOCUMENT[DOCUMENT.index("Exit codes:") :])


def test_the_example_of_status_is_what_it_prints():
    def kernel(identifier, state, seconds, evaluations, process, client=None, *, busy=False):
        return {
            "ID": identifier, "State": state, "Busy": busy, "SecondsInState": seconds, "Evaluations": evaluations,
            "ProcessID": process, "Client": client, "Age": 9000,
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
    lines = report({"Pools": pools}, "31415@localhost", 80)
    shown = "\n".join(f"    {line}".rstrip() for line in lines)
    assert f"    $ wstpserver-admin status\n{shown}\n" in PAGE
