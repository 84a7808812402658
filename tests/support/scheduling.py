"""Which tests one worker runs, and in which order, when several share a run (`pytest -n auto --dist loadfile`).

A unit is a file, or a few files that share something expensive for a whole session. One worker runs it from beginning
to end, so that what its tests share is made once in a run and not once for each worker. Units that take long are begun
first: begun last, they would keep one worker busy while the others have nothing to do.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

#: Files that share a server with embedded kernels, a parent of embedded kernels, compiled programs, or a library that
#: takes long to load. The files of a folder, or files by name.
TOGETHER = (
    ("tests/gateways/test_agents.py", "tests/gateways/test_magic.py", "tests/gateways/test_jupyter.py",
     "tests/gateways/test_kernel_text.py", "tests/gateways/test_wolframclient.py",
     "tests/gateways/test_wolframscript.py"),
    ("tests/embedded/test_arrays.py", "tests/embedded/test_associations.py", "tests/embedded/test_convert.py",
     "tests/embedded/test_evaluator.py", "tests/embedded/test_graphics.py", "tests/embedded/test_interrupts.py",
     "tests/embedded/test_library.py", "tests/embedded/test_links.py", "tests/embedded/test_output.py",
     "tests/embedded/test_process.py", "tests/embedded/test_questions.py", "tests/embedded/test_repl.py",
     "tests/embedded/test_server_functions.py", "tests/embedded/test_text.py", "tests/client/test_embedded_values.py",
     "tests/script/test_embedded.py", "tests/script/test_formats.py"),
    ("tests/docs/test_blocks.py", "tests/docs/test_samples.py", "tests/parallel/test_embedded.py",
     "tests/script/test_map_program.py"),
    ("tests/scenarios", "tests/script/test_bad_input.py", "tests/script/test_repl_kernel.py",
     "tests/script/test_shown.py"),
    ("tests/interop",),
    ("tests/tools/test_soak.py", "tests/tools/test_loadtest.py"),
)  # fmt: skip

#: The first file of each unit that takes long, the longest first (CPU and waiting on a quiet machine).
LONGEST = (
    "tests/gateways/test_agents.py",
    "tests/embedded/test_arrays.py",
    "tests/server/kernels/test_remote.py",
    "tests/service/test_advertising.py",
    "tests/engines/test_slurm.py",
    "tests/scenarios",
    "tests/server/test_kernel_starts.py",
    "tests/docs/test_blocks.py",
    "tests/server/http/test_page.py",
    "tests/service/test_supervisord.py",
    "tests/server/test_kernel_death.py",
    "tests/tools/test_compare.py",
    "tests/engines/test_ssh.py",
    "tests/tools/test_soak.py",
    "tests/gateways/test_kernel.py",
    "tests/server/http/test_site.py",
    "tests/embedded/test_program.py",
    "tests/server/test_missing_calls.py",
    "tests/client/test_link.py",
    "tests/parallel/test_executor.py",
    "tests/admin/test_commands.py",
    "tests/system/test_scenarios.py",
    "tests/system/test_many_clients.py",
    "tests/turns/test_catalogue.py",
    "tests/server/test_large_frames.py",
    "tests/server/test_restart.py",
    "tests/server/test_client_death.py",
    "tests/harness/test_collecting.py",
    "tests/embedded/test_behind_server.py",
    "tests/service/test_signals.py",
    "tests/server/test_stopping.py",
    "tests/keeper/test_crash.py",
    "tests/turns/test_random.py",
    "tests/harness/test_server_process.py",
    "tests/parallel/test_ends.py",
    "tests/server/kernels/test_prefork.py",
    "tests/cli/test_serve.py",
    "tests/gateways/test_faults.py",
    "tests/cli/test_run.py",
    "tests/script/test_repl.py",
    "tests/wire/test_deep.py",
    "tests/server/test_strangers.py",
    "tests/script/test_taking_kernels.py",
    "tests/limits/test_times.py",
    "tests/wire/test_properties.py",
    "tests/server/kernels/test_spawn.py",
    "tests/admin/test_maintenance.py",
    "tests/server/relay/test_channels.py",
    "tests/commands/test_configuration.py",
    "tests/tools/test_compare_builds.py",
    "tests/client/test_taking_kernels.py",
    "tests/server/test_messages.py",
    "tests/script/test_script.py",
    "tests/docs/test_reference.py",
    "tests/server/test_peers.py",
    "tests/pools/test_random_histories.py",
    "tests/service/test_systemd.py",
    "tests/cli/test_source_distribution.py",
    "tests/server/test_waiting.py",
    "tests/turns/test_player.py",
    "tests/limits/test_idle.py",
    "tests/harness/test_fake_kernel.py",
    "tests/admin/test_control.py",
    "tests/commands/test_commands.py",
    "tests/server/test_repairs.py",
    "tests/keeper/test_keeper.py",
    "tests/interop",
    "tests/client/test_listener.py",
    "tests/server/relay/test_epoll_loop.py",
    "tests/limits/test_memory.py",
    "tests/test_layers.py",
    "tests/client/test_threads.py",
    "tests/client/test_conversions.py",
    "tests/commands/test_from_kernels.py",
    "tests/commands/test_administration.py",
    "tests/docs/test_pages.py",
    "tests/client/test_reconnect.py",
    "tests/service/test_script_server.py",
    "tests/server/test_flows.py",
    "tests/script/test_terminal.py",
)


def unit_of(nodeid: str) -> str:
    """The unit that a test belongs to, by the name of its first file or folder."""
    file = nodeid.split("::", 1)[0]
    for unit in TOGETHER:
        if file.startswith(unit):
            return unit[0]
    return file


def place(nodeid: str) -> int:
    """Sorts tests: those of the longest units first, the others as they come."""
    name = unit_of(nodeid)
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


class Scheduling(LoadFileScheduling):
    """Gives the next unit to the worker that has next to nothing left."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # by the number of tests, which says little

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
