"""wstpserver-jupyter - makes a server's kernels known to Jupyter, as the kernel of Wolfram Language notebooks.

Usage:
  wstpserver-jupyter [options] install [--user | --sys-prefix | --prefix FOLDER]
  wstpserver-jupyter [options] uninstall
  wstpserver-jupyter [options] kernel -f FILE [ARGUMENT...]
  wstpserver-jupyter [options] release ID
  wstpserver-jupyter --help | --version

Commands:
  install    Register the kernel with Jupyter, for this user if nothing else is said.
  uninstall  Remove it.
  kernel     Be the kernel; Jupyter calls this.
  release    Close the kernel with this ID. A kernel process that is killed leaves this to do.

Options:
  -s, --server ADDRESS  The server: PORT, PORT@HOST or wstp://HOST:PORT. Without it the environment variable WSTPSERVER
                        when the kernel starts, else 31415@localhost.
  -p, --pool POOL       The pool that kernels come from; without it the server's default pool.
  -n, --name NAME       The name of the kernel. [default: wstpserver]
  -d, --display NAME    The name that notebooks show.
  --user                install: for this user.
  --sys-prefix          install: for this Python environment.
  --prefix FOLDER       install: below this folder.
  -f FILE               kernel: the connection file.
  -h, --help            Print this help.
  --version             Print the version.

Exit codes: 0; 1 there is no such kernel to uninstall, or the kernel is not closed; 64 wrong usage; 69 a package is
missing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from docopt import DocoptExit, docopt

from wstpserver.client import Address, CommandError, LinkSyntaxError, Session, connect, parse_address
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69

#: Seconds for the server to take the command that closes a kernel.
_RELEASE_TIMEOUT: Final = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: The words after its name; None for those of this process.

    Returns:
        The exit code.
    """
    document = __doc__ or ""
    try:
        options = docopt(document, arguments, version=f"wstpserver-jupyter {VERSION}")
        address_of(options["--server"] or "", options["--pool"] or "")
    except DocoptExit as error:
        return _complain(f"wrong arguments\n{error.usage}", EXIT_USAGE)
    except LinkSyntaxError as error:
        return _complain(str(error), EXIT_USAGE)
    try:
        if options["release"]:
            return _release(options["--server"] or "", options["ID"])
        if options["kernel"]:
            return _run_kernel(options)
        return _install(options) if options["install"] else _uninstall(options["--name"])
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("ipykernel", "jupyter_client"):
            raise
        return _complain(f"{error.name} is not installed: pip install 'wstpserver[jupyter]'", EXIT_UNAVAILABLE)


def _complain(text: str, code: int) -> int:
    print(f"wstpserver-jupyter: {text.rstrip()}", file=sys.stderr)
    return code


def address_of(server: str, pool: str) -> Address:
    """Return an address.

    Args:
        server: The server; "" for the default one.
        pool: The pool; "" for the one that `server` names, or the default one.

    Returns:
        The address of both.

    Raises:
        LinkSyntaxError: `server` is no address.
    """
    address = parse_address(server)
    return Address(address.data, address.message, pool) if pool else address


def kernel_specification(name: str, server: str | None, pool: str | None) -> dict[str, Any]:
    """Return what Jupyter has to know of the kernel: the content of its `kernel.json`."""
    options = [word for option, value in (("--server", server), ("--pool", pool)) if value for word in (option, value)]
    return {
        "argv": [sys.executable, "-m", "wstpserver.gateways.jupyter", *options, "kernel", "-f", "{connection_file}"],
        "display_name": name,
        "language": "wolfram",
        "interrupt_mode": "signal",
        "metadata": {"debugger": False},
    }


def _install(options: dict[str, Any]) -> int:
    import ipykernel  # noqa: F401 - it is needed when the kernel starts, and better missed now
    from jupyter_client.kernelspec import KernelSpecManager

    pool = options["--pool"]
    shown = options["--display"] or f"Wolfram Language ({pool})" if pool else options["--display"] or "Wolfram Language"
    prefix = sys.prefix if options["--sys-prefix"] else options["--prefix"]
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(kernel_specification(shown, options["--server"], pool), indent=1)
        Path(folder, "kernel.json").write_text(text, encoding="utf-8")
        try:
            where = KernelSpecManager().install_kernel_spec(
                folder, options["--name"], user=prefix is None, prefix=prefix
            )
        except (OSError, ValueError) as error:
            return _complain(f"the kernel cannot be installed: {error}", EXIT_FAILED)
    print(f'Installed "{shown}" as {options["--name"]} in {where}')
    return 0


def _uninstall(name: str) -> int:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        where = KernelSpecManager().remove_kernel_spec(name)
    except (KeyError, NoSuchKernel, OSError):
        return _complain(f"there is no kernel {name}", EXIT_FAILED)
    print(f"Removed {where}")
    return 0


def _run_kernel(options: dict[str, Any]) -> int:
    from ipykernel.kernelapp import IPKernelApp

    from wstpserver.gateways.jupyter_kernel import WolframKernel

    WolframKernel.address = address_of(options["--server"] or "", options["--pool"] or "")
    IPKernelApp.launch_instance(["-f", options["-f"], *options["ARGUMENT"]], kernel_class=WolframKernel)
    return 0


def _release(server: str, kernel: str) -> int:
    """Close a kernel. One that is gone already is fine."""
    try:
        with Session(connect(server, _RELEASE_TIMEOUT, without_kernel=True)) as session:
            session.command("CloseKernel", kernel, timeout=_RELEASE_TIMEOUT)
    except CommandError as error:
        if "exist" not in str(error).lower() and "no kernel" not in str(error).lower():
            return _complain(str(error), EXIT_FAILED)
    except WSTPError as error:
        return _complain(str(error), EXIT_FAILED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
