"""wstpscript called as public scripts and agents call wolframscript, with the embedded kernel behind a server."""

import os
import re
import subprocess
import sys

import pytest

from tests.gateways.conftest import ROOT

DEADLINE = 60


@pytest.fixture
def wolframscript(served, tmp_path):
    """wolframscript(word, ..., inputs=text) -> (exit status, stdout, stderr), by that name on the search path."""
    program = tmp_path / "bin" / "wolframscript"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom wstpserver.cli.script.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    variables = {
        "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
        "WSTPSERVER": served.address, "LANG": "C.UTF-8",
    }  # fmt: skip

    def run(*words, inputs=None):
        done = subprocess.run(
            ["wolframscript" if not os.access(words[0], os.X_OK) else words[0], *words[os.access(words[0], os.X_OK) :]],
            input=inputs, stdin=subprocess.DEVNULL if inputs is None else None, capture_output=True, text=True,
            timeout=DEADLINE, env=variables, cwd=tmp_path,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_session_of_an_agent(wolframscript, served, tmp_path):
    """An empty file, -startprofile or -continueprofile, one call for each evaluation, and Exit[] for the kernel."""
    before = served.in_use()
    profile = tmp_path / "kernel.profile"
    goes_on = ("-wstpserver", "-continueprofile", profile)
    formats = {"latex": ("x/(y^2)", "\\frac{7}{y^2}\n"), "mathematica": ('{x, "a"}', '{7, "a"}\n')}
    for begin, then in (("-startprofile", formats), ("-continueprofile", {})):
        profile.write_text("")
        assert wolframscript("-wstpserver", begin, profile, "-code", "Null") == (0, "", "")
        kernel = re.search(r"^KERNELID=(.*)$", profile.read_text(), re.MULTILINE)[1]
        assert wolframscript(*goes_on, "-format", "text", "-code", "x = 7") == (0, "7\n", "")
        for name, (code, shown) in then.items():
            assert wolframscript(*goes_on, "-format", name, "-code", code) == (0, shown, "")
        assert kernel in served.kernels()
        assert wolframscript(*goes_on, "-code", "Exit[]") == (0, "", "")
    status, out, err = wolframscript(*goes_on, "-code", "x")
    assert (status, out) == (1, "") and err.startswith("wolframscript: the kernel ") and "is gone" in err
    served.assert_nothing_is_left(before)


def test_a_script_that_is_a_program(wolframscript, served, tmp_path):
    before = served.in_use()
    script = tmp_path / "square.wls"
    script.write_text("#!/usr/bin/env wolframscript\nPrint[ToExpression[$ScriptCommandLine[[2]]]^2]\n")
    script.chmod(0o755)
    assert wolframscript(str(script), "5", "-print") == (0, "25\n", "")
    assert wolframscript("square.wls", "6") == (0, "36\n", "")
    script.write_text("#!/usr/bin/env -S wolframscript -function -signature Integer Integer\n#1^#2 &\n")
    assert wolframscript(str(script), "2", "100") == (0, f"{2**100}\n", "")
    script.write_text(f"#!{tmp_path}/bin/wolframscript -function\nStringJoin[#2, #1] &\n")
    assert wolframscript(str(script), "-code", "b") == (0, "b-code\n", "")
    assert wolframscript("-version")[1].startswith("wolframscript ")
    served.assert_nothing_is_left(before)


def test_standard_input(wolframscript, served):
    before = served.in_use()
    assert wolframscript("-code", "StringLength[$ScriptInputString]", inputs="hello") == (0, "5\n", "")
    assert wolframscript("-linewise", inputs="x = 2\nx + 1\n") == (0, "2\n3\n", "")
    reverse = ("-linewise", "-function", "StringReverse")
    assert wolframscript(*reverse, inputs="abc\ndef\n") == (0, "cba\nfed\n", "")
    served.assert_nothing_is_left(before)
