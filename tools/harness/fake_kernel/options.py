"""The command line of the test kernel: what a kernel gets from its parent, and how it is to misbehave."""
import sys

#: Behaviours and the kind of their value; None: a flag. tools.harness.kernels.make_kernel documents them.
BEHAVIOURS = {
    "last_output": str, "exit_code": int, "exit_at_once": None, "hang": None, "connect_from_child": None,
    "garbage": None, "garbage_after_greeting": None, "never_greet": None, "silent": None, "die_after": int,
    "ignore_term": None, "grandchild": None, "flood_before": int, "flood_after": int, "start_delay": float,
    "start_gate": str, "register": str, "version": int, "write_size": int, "mirror": None,
    "hand_over": str,
}  # fmt: skip


class Options:
    """`behaviour(name)` by attribute; `data`, `message` (host, port) or None; `uuid` for -linkoptions 4."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.uuid = False
        self.data = self.message = None
        for name in BEHAVIOURS:
            setattr(self, name, None)
        self._read(arguments)

    def _read(self, arguments):
        following = iter(arguments)
        for word in following:
            if word.startswith("--"):
                self._set_behaviour(word[2:])
            elif word == "-linkname":
                names = [_address(name) for name in next(following).split(",")]
                self.data, self.message = (names + [None])[:2]
            elif word == "-linkoptions":
                self.uuid = bool(int(next(following)) & 4)
            # everything else is for a kernel of more talents

    def _set_behaviour(self, word):
        name, _, value = word.partition("=")
        name = name.replace("-", "_")
        if name not in BEHAVIOURS:
            sys.exit(f"test kernel: unknown behaviour {name!r}")
        kind = BEHAVIOURS[name]
        setattr(self, name, True if kind is None else kind(value))


def _address(text):
    port, _, host = text.partition("@")
    return (host or "127.0.0.1", int(port))
