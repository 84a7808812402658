"""NumericArray, the kernel's arrays of numbers of a fixed type, where no NumPy array is wished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

#: The kernel's name of a type -> NumPy's
NUMPY_TYPES: Final = {
    "Integer8": "int8", "Integer16": "int16", "Integer32": "int32", "Integer64": "int64",
    "UnsignedInteger8": "uint8", "UnsignedInteger16": "uint16", "UnsignedInteger32": "uint32",
    "UnsignedInteger64": "uint64", "Real32": "float32", "Real64": "float64",
    "ComplexReal32": "complex64", "ComplexReal64": "complex128",
}  # fmt: skip


@dataclass(frozen=True)
class NumericArray:
    """``NumericArray[data, "type"]``.

    `data`: a PackedArray, or nested `List` functions where no packed array holds the type (UnsignedInteger64).
    `type`: the kernel's name, such as "Real64".
    """

    data: Expression
    type: str

    def as_expression(self) -> Function:
        """The expression that it stands for."""
        return Function(Symbol("NumericArray"), (self.data, self.type))

    def tolist(self) -> list[Any]:
        """The numbers in nested lists."""
        from wstpserver.client.python_values import to_python

        values = to_python(self.data)
        assert isinstance(values, list), "checked when it was made"
        return values

    def to_numpy(self) -> Any:
        """A NumPy array of that type. ImportError without NumPy."""
        import numpy

        if isinstance(self.data, PackedArray):
            return numpy.array(self.data.to_numpy(), dtype=NUMPY_TYPES[self.type])
        return numpy.array(self.tolist(), dtype=NUMPY_TYPES[self.type])


def numeric_array(arguments: tuple[Expression, ...]) -> NumericArray | None:
    """What ``NumericArray[arguments]`` stands for; None if it is not one."""
    match arguments:
        case (PackedArray() | Function(head=Symbol(name="List" | "System`List")) as data, str(name)):
            if name in NUMPY_TYPES and _only_lists(data):
                return NumericArray(data, name)
    return None


def _only_lists(data: Expression) -> bool:
    """Whether this is a rectangular array of numbers, as far as a look at the outside tells."""
    if isinstance(data, PackedArray):
        return data.heads is None or set(data.heads[:-1]) <= {"List"}
    assert isinstance(data, Function)
    level: tuple[Expression, ...] = data.args
    while level and all(isinstance(part, Function) and part.head == data.head for part in level):
        level = tuple(leaf for part in level if isinstance(part, Function) for leaf in part.args)
    return all(isinstance(leaf, (int, float)) or _is_complex(leaf) for leaf in level)


def _is_complex(leaf: Expression) -> bool:
    return isinstance(leaf, Function) and leaf.head in (Symbol("Complex"), Symbol("System`Complex"))
