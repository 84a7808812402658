"""What C may do by itself between a client and its kernel: one pure function, and the only place that writes the
words in C.

Two channels of a bridge may copy without Python: an evaluation to a kernel that is ready for one, and the answer to
it. C counts both together while nothing else passes. Whatever makes a single evaluation or answer matter (a frame
that waits, a question, a dialog, a command that takes effect after the evaluation, the end of the bridge) ends that:
the owner of the bridge calls `apply` with new permissions after each change.

C takes the permission away by itself when an evaluation passes, and gives it back with the counted answer. That is what
`permissions` says for these two steps, so they need no call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wstpserver._native import ffi
from wstpserver.pools.states import BridgeState

if TYPE_CHECKING:
    from wstpserver.server.relay.client_channel import ClientChannel
    from wstpserver.server.relay.kernel_channel import KernelChannel


class Permissions(NamedTuple):
    """What C may do for a bridge."""

    #: The client's next evaluation may go to the kernel, before Python hears of it.
    evaluation: bool
    #: Evaluations and their answers are counted in pairs; Python hears numbers.
    counted: bool


#: Nothing: each packet of the client is handed to Python.
NOTHING = Permissions(evaluation=False, counted=False)

_ALL = {
    (evaluation, counted): Permissions(evaluation=evaluation, counted=counted)
    for evaluation in (False, True)
    for counted in (False, True)
}


def permissions(
    bridge: BridgeState,
    *,
    accepting: bool,
    plain: bool,
    queue_empty: bool,
    closing: bool,
    deferred: bool,
    rewrites: bool,
) -> Permissions:
    """What C may do for a bridge in this situation.

    Args:
        bridge: the bridge's state; nothing is permitted in any but OPEN.
        accepting: the kernel takes an evaluation now, and what the client sends next would be one: no question is open.
        plain: no dialog, no question, nothing discarded, and the only open evaluation, if any, is an EvaluatePacket.
        queue_empty: no frame of the client waits, is held, or is on its way in parts.
        closing: the client's link is being closed.
        deferred: a command takes effect when the evaluation has ended.
        rewrites: bytes have to be rewritten between the two (docs/wire-protocol.md, section 2).
    """
    if bridge is not BridgeState.OPEN or not queue_empty or closing or deferred or rewrites:
        return NOTHING
    return _ALL[accepting, plain]


def apply(client: ClientChannel, kernel: KernelChannel | None, allowed: Permissions) -> None:
    """Write the permissions of a bridge into the words that C reads.

    Args:
        client: the channel of the client's data connection.
        kernel: the channel of the kernel at the other end; None without a bridge, when nothing may be permitted.
        allowed: from `permissions`.
    """
    state = client.state
    state.permitted = allowed.evaluation
    if not allowed.counted or kernel is None:
        if state.peer:
            state.peer.peer = state.peer = ffi.NULL
    elif state.peer != kernel.state:
        client.peer = kernel  # its state must live as long
        state.peer, kernel.state.peer = kernel.state, state
