"""Values as JSON, for ``wstpscript -map``."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

from wstpserver.client import NumericArray, to_expression
from wstpserver.wire.encode import encode
from wstpserver.wire.preview import preview
from wstpserver.wire.values import PackedArray, Symbol


def to_json(value: Any) -> str:
    """One line of JSON for the Python form of a value (`wstpserver.client.to_python`).

    What JSON has nothing for becomes a string: ``1/3`` and the like, ``Infinity``, and expressions as in
    ``Plus[a, {1, b}]``.
    """
    try:
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return json.dumps(_text(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _text(value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _text(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (NumericArray, PackedArray)) and not getattr(value, "heads", None):
        return _plain(value.tolist())
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Symbol):
        return value.name.removeprefix("System`").removeprefix("Global`")
    data = encode(to_expression(value), ascii=False, end_packet=False)
    return preview(data, 4 * len(data) + 100)
