"""Random conversations, nested and typed ahead at will: through the server they are what they are over a direct link.

TURNS_EXAMPLES=1000 plays that many new ones instead of the few that are always the same. A failure is made smaller by
hypothesis: what it shows is a conversation of a few steps.
"""
from __future__ import annotations

import dataclasses
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.turns.conversations import (
    EVALUATIONS,
    OUTPUT,
    QUESTIONS,
    REQUESTS,
    dialog,
    question,
    request,
    together,
)
from tests.turns.player import assert_same, c, c_message, k, k_message, play_directly

EXAMPLES = int(os.environ.get("TURNS_EXAMPLES", "0"))
COMMON = {
    "max_examples": EXAMPLES or 20, "derandomize": not EXAMPLES, "deadline": None, "database": None,
    "suppress_health_check": list(HealthCheck), "print_blob": False,
}  # fmt: skip

#: Codes of messages that a conversation may have anywhere: all but those that end a kernel or its link.
CODES = (2, 3, 4, 5, 7, 8, 128)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What conversations may have: whether the client evaluates while the kernel waits for it, and all messages."""

    nested: bool
    codes: tuple = CODES


@st.composite
def bodies(draw, kind, depth):
    """What happens in an evaluation before its answer."""
    choices = ["output", "to kernel", "to client", "question", "request"]
    if depth:
        choices.append("dialog")
    return together(*[_part(draw, draw(st.sampled_from(choices)), kind, depth) for _ in range(draw(st.integers(0, 3)))])


def _part(draw, name, kind, depth):
    nested = depth and kind.nested and name in ("question", "request")
    # an unknown packet would count as the answer, after which evaluations wait again
    inner = draw(turns(kind, depth - 1, others=False)) if nested else []
    if name == "output":
        return OUTPUT[draw(st.sampled_from(list(OUTPUT)))]
    if name == "to kernel":
        return c_message(draw(st.sampled_from(kind.codes)), draw(st.integers(0, 9)))
    if name == "to client":
        return k_message(draw(st.sampled_from(kind.codes)), draw(st.integers(0, 9)))
    if name == "question":
        return question(draw(st.sampled_from(list(QUESTIONS))), inner)
    if name == "request":
        return request(draw(st.sampled_from(list(REQUESTS))), inner)
    return dialog(1, draw(turns(kind, depth - 1)))


@st.composite
def turns(draw, kind, depth, least=0, *, others=True):
    """Evaluations one after the other, and between them `others`: packets that no side knows."""
    parts = []
    for number in range(draw(st.integers(least, 3))):
        name = draw(st.sampled_from([*EVALUATIONS, "Foo"] if others else [*EVALUATIONS]))
        if name == "Foo":
            parts.append(draw(st.sampled_from([c("Foo", number), k("Foo", number)])))
        else:
            parts.append(EVALUATIONS[name](number, draw(bodies(kind, depth))))
    return together(*parts)


@st.composite
def typed_ahead(draw, script):
    """The same conversation with some packets of the client sent earlier; nothing overtakes what it sent before."""
    script = list(script)
    for place in range(len(script)):
        if (script[place].side, script[place].action) == ("C", "sends") and draw(st.booleans()):
            first = max((n + 1 for n in range(place) if script[n].action in ("sends", "signals")
                         and script[n].side == "C"), default=0)  # fmt: skip
            script.insert(draw(st.integers(first, place)), script.pop(place))
    return script


def conversations(kind, *, ahead):
    made = turns(kind, 2, least=1)
    return made.flatmap(typed_ahead) if ahead else made


@given(script=conversations(Kind(nested=True), ahead=True))
@settings(**COMMON)
def test_scripts_are_conversations(script):
    """Whatever the strategies make is a conversation that two ends can have."""
    play_directly(script)


@given(script=conversations(Kind(nested=False), ahead=False))
@settings(**COMMON)
def test_one_after_the_other(scripted, script):
    assert_same(script, *scripted)


@given(script=conversations(Kind(nested=True, codes=(*CODES, 6, 10)), ahead=True))
@settings(**COMMON)
def test_everything(scripted, script):
    assert_same(script, *scripted)
