"""The same inputs through wstpscript, the Python client, and as Java programs ask for them."""
import os
import shlex
import subprocess
import sys

from tools.harness.known_inputs import CLEAR, Values
from tools.harness.server import ServerProcess, pool

#: Seconds for one input, and for the first kernel.
INPUT_TIMEOUT, START_TIMEOUT = 60.0, 120.0

#: Printed before each input in the script.
_MARK = "@@"


def kernel_program(folder, command=(sys.executable, "-m", "wstpserver.embedded.main")):
    """The path of a program that is an embedded kernel of this Python, or another command."""
    program = folder / "wstpkernel"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    program.chmod(0o755)
    return program


def embedded_server(folder):
    """A server with one pool of embedded kernels."""
    return ServerProcess(folder, {"Pools": {"Main": pool(kernel_program(folder), MinimumKernelNumber=1)}}, "-l", "2")


def differences(address, inputs, folder, client):
    """Evaluate inputs in three ways. `client`: the package `wstpserver.client`.

    Returns:
        [(input, {way: value})] for each input whose values are not the same.
    """
    script = _by_script(address, inputs, folder)
    found, output = [], []
    values = Values(client)
    call, typed = values.call, values.typed
    callbacks = client.Callbacks(on_print=output.append, on_message=lambda message: None)
    with client.Session(address, timeout=START_TIMEOUT, results="expression", callbacks=callbacks) as session:

        def evaluate(expression):
            return session.evaluate(expression, timeout=INPUT_TIMEOUT)

        for text, printed in zip(inputs, script, strict=True):
            evaluate(typed(CLEAR))
            output.clear()
            plain = evaluate(text)  # as a user of the Python client writes it
            value_printed = printed.removeprefix("".join(output).strip()).strip() or "Null"
            evaluate(typed(CLEAR))
            rule = call("Rule", client.Symbol("FormatType"), client.Symbol("InputForm"))
            java = evaluate(call("ToString", typed(text), rule))
            # Text, such as that of a picture, is compared as text: not all of it can be read again.
            shown = evaluate(call("ToString", call("Unevaluated", plain), client.Symbol("InputForm")))
            ways = {"Python client": shown, "J/Link": java, "wstpscript": value_printed}
            if len(set(ways.values())) == 1:
                continue
            read = [evaluate(typed(f"HoldComplete[{value}]")) for value in ways.values()]
            if not all(values.same(read[0], other) for other in read[1:]):
                found.append((text, ways))
    return found


def _by_script(address, inputs, folder):
    """What wstpscript prints for each input, in InputForm."""
    script = folder / "inputs.wl"
    lines = [f'{CLEAR};\nPrint["{_MARK}"];\n{text}\n' for text in inputs]
    script.write_text("".join(lines) + f'Print["{_MARK}"];\n', encoding="utf-8")
    command = [sys.executable, "-m", "wstpserver.cli.script.main", "-wstpserver", address, "-file", str(script),
               "-print", "all", "-format", "InputForm"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INPUT_TIMEOUT * len(inputs), check=False,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    printed = done.stdout.split(f"{_MARK}\n")[1:-1]
    if len(printed) != len(inputs):
        raise RuntimeError(f"{len(printed)} of {len(inputs)} inputs came back:\n{done.stdout[-500:]}\n{done.stderr}")
    return [text.strip() for text in printed]
