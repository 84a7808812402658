"""The table of the language's functions; the modules functions_* fill it."""
from tools.harness.fake_kernel.codec import Symbol

#: name -> function(session, *evaluated arguments)
FUNCTIONS = {}
#: name -> function(session, expression), called with unevaluated arguments
HELD = {}

NULL = Symbol("Null")
TRUE, FALSE = Symbol("True"), Symbol("False")


class EndDialog(Exception):
    """Return[...] was evaluated inside a dialog."""

    def __init__(self, value):
        super().__init__()
        self.value = value


def function(*names):
    """Decorator: a function of the language whose arguments are evaluated first."""

    def register(implementation):
        for name in names:
            FUNCTIONS[name] = implementation
        return implementation

    return register


def held(*names):
    """Decorator: a function of the language that gets its expression as it came."""

    def register(implementation):
        for name in names:
            HELD[name] = implementation
        return implementation

    return register
