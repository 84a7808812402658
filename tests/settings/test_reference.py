"""The default file and the reference page: what the table of options makes of them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cases import for_each
from tests.support.settings import OPTIONS
from wstpserver.settings.reference import reference_text, sample_text

ROOT = Path(__file__).parents[2]

#: The keys of the documentation's sample, in its order.
DOCUMENTED = [
    "AllowStealingKernels", "AllowSilentKernelReplacement", "EnableAutomaticKernelConnection",
    "SendInputNamePacketUponKernelConnection", "Pools",
    "KernelPoolOne", "Default", "KernelPath", "KernelPath", "KernelPath", "InitializationCode", "InitializationFile",
    "KernelOptions", "KeepAlive", "MinimumKernelNumber", "ParallelKernels", "ReservePreviouslyConnectedKernels",
    "KernelPoolTwo", "ParallelKernelDefault", "ParallelKernels", "KernelPath", "KernelPath", "KernelPath",
]  # fmt: skip


def test_the_files_are_what_the_table_makes():
    done = subprocess.run([sys.executable, ROOT / "tools" / "generate-docs", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sample_has_the_documented_keys_in_their_order():
    keys = iter(re.findall(r'"(\w+)":', sample_text()))
    assert all(key in keys for key in DOCUMENTED)


def test_the_sample_shows_every_option():
    assert {option.key for option in OPTIONS} <= set(re.findall(r'"(\w+)":', sample_text()))


def test_the_sample_loads_and_sets_what_a_new_user_needs(world):
    world.write(world.local, (ROOT / "conf.example").read_text(encoding="utf-8"))
    loaded = world.load()
    assert loaded.warnings == ()
    given = {key: origin for key, origin in loaded.origins.items() if origin.source == str(world.local)}
    assert {key[1:] for key in given} == {
        ("KernelPoolOne", "MaximumKernelNumber"),
        ("KernelPoolOne", "ReservedKernelTimeout"),
        *(("KernelPoolTwo", key) for key in (
            "ParallelKernelDefault", "ParallelKernels", "MinimumKernelNumber", "MaximumKernelNumber", "KeepAlive",
        )),
    }  # fmt: skip
    first, second = loaded.settings.pools
    assert (loaded.settings.default_pool, loaded.settings.parallel_pool) == (first, second)
    assert second.minimum_kernel_number == 0


def test_three_clients_that_leave_reserved_kernels_do_not_fill_the_default_pool(world):
    """Each run of a program that ends without closing its kernel leaves one that is reserved."""
    pool = world.load().settings.default_pool
    assert pool.reserve_previously_connected_kernels
    assert pool.maximum_kernel_number > 3 + pool.minimum_kernel_number
    assert 0 < pool.reserved_kernel_timeout < 86400


def uncommented(text):
    """The sample with everything that is a key or a bracket taken out of its comment."""
    return re.sub(r'^#(?=\s*(?:"\w+":|[{}]))', " ", text, flags=re.MULTILINE)


def test_every_line_of_the_sample_can_be_uncommented(world):
    text = uncommented(sample_text())
    # Of the three example paths one may stay, and it must lead to a kernel.
    text = re.sub(r'"KernelPath":"[^/].*\n|"KernelPath":"/Appl.*\n', "\n", text)
    text = re.sub(r'"KernelPath":".*"', lambda _: f'"KernelPath":{json.dumps(str(world.kernel))}', text)
    tokens = world.write(world.cwd / "tokens", "a-token-that-nobody-guesses\n")
    text = re.sub(r'"AccessTokenFile":".*"', lambda _: f'"AccessTokenFile":{json.dumps(str(tokens))}', text)
    path = world.write(world.cwd / "all", text)
    loaded = world.load(path=str(path))
    given = {key[-1] for key, origin in loaded.origins.items() if origin.source == str(path)}
    assert given == {option.key for option in OPTIONS if option.key != "Pools"}
    assert [pool.name for pool in loaded.settings.pools] == ["KernelPoolOne", "KernelPoolTwo"]
    assert loaded.settings.parallel_pool.name == "KernelPoolTwo"


@for_each(OPTIONS, lambda option: option.key)
def test_the_reference_explains_every_option(option):
    rows = [line for line in reference_text().splitlines() if line.startswith(f"| `{option.key}` |")]
    (row,) = [line for line in rows if option.summary[1:] + "." in line]  # a pool may have a key of the root as well
    assert option.expected in row
    assert row.count("|") == 5 + 2 * row.count("\\|")
    extensions = reference_text().index("## Extensions")
    assert (reference_text().index(row) > extensions) == option.extension


#: Configurations that the documentation shows in its scenarios.
SCENARIOS = {
    "parallel": """# wstpserver.conf: place in the current working directory
{
    "Pools":
        {
            "IProvideParallelKernels":
                {
                    "Parallel":true,
                    "MinimumKernelNumber":4
                }
        }
}""",
    "specially configured": '{"Pools":\n{"IDefineX":\n{"InitializationCode":"x=4"}\n}\n}',
    "previously used": '{"Pools":{"IBuildUpState":{"KeepAlive":true}}}',
    "profiles": """# wstpserver.conf: place in the current working directory
{
    "Pools":
        {
                "IHaveSpecificProperties":
                {
                    "KeepAlive":true,
                    "ReservePreviouslyConnectedKernels":false
                }
        }
}""",
}


@pytest.mark.parametrize("text", SCENARIOS.values(), ids=SCENARIOS)
def test_the_documented_scenarios_load(world, text):
    world.write(world.local, text)
    loaded = world.load()
    assert loaded.warnings == ()
    assert loaded.path == world.local
    assert loaded.settings.default_pool.name.startswith("I")


def test_the_parallel_scenario_has_a_parallel_pool_of_four(world):
    world.write(world.local, SCENARIOS["parallel"])
    pool = world.load().settings.parallel_pool
    assert (pool.minimum_kernel_number, pool.maximum_kernel_number, pool.parallel_kernels) == (4, 4, True)
