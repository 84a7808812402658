"""The tables of wstpserver-admin status."""

import textwrap

import pytest

from wstpserver.cli.admin.status import TableColumn, duration, report, table
from wstpserver.client import CommandError
from wstpserver.client.commands import read_information


def kernel(identifier, state, **values):
    given = {"ID": identifier, "State": state, "ProcessID": 4711, "Busy": False, "SecondsInState": 5.2}
    return given | {"Evaluations": 3, "Age": 4000.0, "Client": None} | values


def pool(*kernels, **values):
    given = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 4, "EntryPool": False, "ParallelKernelEntryPool": False}
    return given | {"WaitingClients": 0, "Trouble": "", "Kernels": list(kernels)} | values


CLIENT = {"Client": "Client 3 (127.0.0.1:46074)"}
POOLS = {
    "Main": pool(
        kernel("a806-2645-9651", "bridged", Busy=True, **CLIENT),
        kernel("825c-6cbd-129b", "free"),
        kernel("1111-2222-3333", "free", Busy=True),
        kernel("1111-2222-4444", "reserved", SecondsInState=9000.0),
        EntryPool=True,
        WaitingClients=1,
    ),
    "Parallel": pool(
        kernel("1111-2222-5555", "starting", ProcessID=None, Age=None),
        ParallelKernelEntryPool=True,
        Trouble="The last kernel that was started for it failed: no licence",
    ),
}
OUTSIDE = [kernel("f114-a2b4-4707", "free", SecondsInState=200000.0)]
ANSWER = {"Pools": POOLS, "KernelsOutsidePools": OUTSIDE}


def shown(answer, width=80):
    return "\n".join(report(answer, "31415@localhost", width)) + "\n"


def test_status():
    assert shown(ANSWER) == textwrap.dedent("""\
        31415@localhost: 2 pools, 6 kernels

        POOL        ALL  MIN-MAX  FREE  IN USE  RESERVED  STARTING  STILL BUSY  WAITING
        Main *        4      2-4     1       1         1         0           1        1
        Parallel +    1      2-4     0       0         0         1           0        0

        * default pool
        + default pool for parallel kernels

        Parallel: The last kernel that was started for it failed: no licence

        KERNEL          POOL      STATE       BUSY  FOR  EVALS   PID  CLIENT
        a806-2645-9651  Main      in use      yes   5 s      3  4711  127.0.0.1:46074
        825c-6cbd-129b  Main      free        no    5 s      3  4711  -
        1111-2222-3333  Main      still busy  yes   5 s      3  4711  -
        1111-2222-4444  Main      reserved    no    2 h      3  4711  -
        1111-2222-5555  Parallel  starting    no    5 s      3     -  -
        f114-a2b4-4707  (none)    free        no    2 d      3  4711  -
    """)


def test_fits_80_columns_in_the_usual_case():
    usual = {"Pools": {"Main": pool(kernel("a806-2645-9651", "bridged", Busy=True, **CLIENT), EntryPool=True)}}
    assert max(map(len, shown(usual).splitlines())) <= 80


def test_a_long_name_is_cut_on_a_terminal_only():
    name = "a pool with quite a long name that somebody thought of"
    answer = {"Pools": {name: pool(kernel("a806-2645-9651", "bridged", **CLIENT))}}
    assert max(map(len, shown(answer).splitlines())) <= 80
    assert name not in shown(answer)
    assert name in shown(answer, None)
    assert "AGE" in shown(answer, None)


def test_a_server_that_says_no_more_than_is_documented():
    answer = {"Pools": {"Main": {"MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "EntryPool": True}}}
    lines = shown(answer).splitlines()
    assert lines[0] == "31415@localhost: 1 pool, 0 kernels"
    assert lines[3].split() == ["Main", "*", "-", "2-2", "-", "-", "-", "-", "-"]


def test_one_pool_for_both():
    lines = shown({"Pools": {"Main": pool(EntryPool=True, ParallelKernelEntryPool=True)}}).splitlines()
    assert lines[3].startswith("Main *+ ")
    assert lines[-1] == "*+ default pool, for parallel kernels too"


@pytest.mark.parametrize("answer", [None, "text", {}, {"Pools": 3}, []])
def test_what_is_no_information(answer):
    with pytest.raises(CommandError, match="names no pools"):
        read_information(answer)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_columns_give_way():
    columns = [TableColumn("NAME", shrinks=True), TableColumn("N", right=True), TableColumn("X", optional=True)]
    rows = [["abcdefghijkl", "1", "x"], ["b", "20", "y"]]
    assert table(columns, rows, None) == ["NAME           N  X", "abcdefghijkl   1  x", "b             20  y"]
    assert table(columns, rows, 16) == ["NAME           N", "abcdefghijkl   1", "b             20"]
    assert table(columns, rows, 12) == ["NAME       N", "abcdefg…   1", "b         20"]
    assert table(columns, rows, 1)[1] == "abcde…   1", "so much is always left"
