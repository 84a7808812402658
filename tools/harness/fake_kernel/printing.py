"""Expressions to text, as a kernel's plain output looks."""
from tools.harness.fake_kernel.codec import Function, Packed, Raw, Symbol


def output_form(value):
    """Text of a value: strings bare, lists in braces, machine reals with their point."""
    if isinstance(value, str):
        return value
    if isinstance(value, Symbol):
        return value.short
    if isinstance(value, float):
        return repr(value).removesuffix("0") if repr(value).endswith(".0") else repr(value)
    if isinstance(value, Raw):
        return f"<{len(value)} bytes>"
    if isinstance(value, Packed):
        return ", ".join(map(output_form, value.numbers()))
    if isinstance(value, Function):
        return _function(value)
    return str(value)


def _function(value):
    arguments = ", ".join(map(output_form, value.args))
    if value.is_head("List"):
        return "{" + arguments + "}"
    if value.is_head("Rule") and len(value.args) == 2:
        return " -> ".join(map(output_form, value.args))
    return f"{output_form(value.head)}[{arguments}]"
