"""Between expressions and Python values, so that nothing is lost in either direction.

| expression | Python |
| --- | --- |
| integer | int |
| machine real, ``Infinity``, ``Indeterminate`` | float |
| real of more precision | `BigReal`: its text, ``.to_decimal()``, ``.precision`` |
| ``Rational[1, 3]`` | `fractions.Fraction` |
| ``Complex[1., 2.]``: both parts machine reals | complex |
| string | str |
| ``True``, ``False``, ``Null`` | True, False, None |
| ``{...}`` | list, or a NumPy array where that is wished and all elements are machine numbers of one kind |
| ``<|key -> value, ...|>`` | dict |
| ``ByteArray["..."]`` | bytes |
| ``NumericArray[..., "type"]`` | `NumericArray`, or a NumPy array of that type |
| anything else | stays an expression, with everything in it: `Symbol`, `Function`, `PackedArray` |

An exact complex number, an association with a key that cannot be one in a dict (a list) or with two that Python takes
for one (1 and 1.), a rational that is not in lowest terms: all of these stay expressions. So does ``DateObject[...]``.

`to_expression` is the inverse: ``to_expression(to_python(e))`` is the same expression as `e`, up to how it travels
(widths of machine numbers, packed or element by element, ``System`` `` written or not). It takes some more types:
tuple, range, Decimal (known to as many digits as it has), bytearray, array.array, NumPy's arrays and numbers, and
whatever has a method ``as_expression()``. A function's arguments are converted, too.

With NumPy arrays one thing is lost: a list and a NumericArray both become an array, which is sent as a list.
"""

from wstpserver.client.expression_values import to_expression
from wstpserver.client.numeric_array import NumericArray
from wstpserver.client.python_values import to_python

__all__ = ["NumericArray", "to_expression", "to_python"]
