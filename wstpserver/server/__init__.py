"""The server: links, bridges, kernels and commands. `ServeOptions` is what a program gives to `app.run`, with the
`GracePeriods` that everything has to come to its end.

The rest of the package needs gevent, which a program that only checks a configuration does not load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wstpserver.server.log import Log, LogLevel
from wstpserver.settings.loader import LoadedSettings

#: Environment variable by which a server that restarts speaks to the program that it executes: "check ..." asks
#: whether that could start (`app.can_start`), a number is the descriptor of what it goes on with (`handover`).
HANDOVER_VARIABLE = "WSTPSERVER_HANDOVER"

#: The answer on stdout of a program that could.
CAN_START = "wstpserver: the program can start"


@dataclass(frozen=True)
class GracePeriods:
    """Seconds that things have to come to an end by themselves, before they are ended.

    Attributes:
        evaluations: Those that are under way when the server is told to stop.
        client: A client whose link is closed, to read what was sent to it.
        link: A kernel whose link was closed, before SIGTERM.
        terminate: A kernel after SIGTERM, before SIGKILL.
        kill: A kernel after SIGKILL, before it is given up.
        abort: A kernel that was told to abort an evaluation (EvaluationTimeLimit), before it is closed.
    """

    evaluations: float = 10.0
    client: float = 10.0
    link: float = 2.0
    terminate: float = 3.0
    kill: float = 5.0
    abort: float = 5.0


#: Those of every server that a user starts.
GRACE = GracePeriods()


@dataclass(frozen=True)
class ServeOptions:
    """What the command line and the environment ask of one run of the server, checked.

    Attributes:
        port: the port to listen on; 0 is any free one.
        interface: the interface to listen on; "" is all interfaces.
        log_level: how much is logged.
        log_file: the path of the log; None is stdout.
        log: the log, open; the caller closes it.
        advertise: the name of the service to advertise; None is not to advertise, "" is to advertise without a name.
        configuration_file: the file in use; None if there is none.
        loaded: what came from it; `reload_settings(loaded)` loads it anew.
        origins: where the value of each field comes from, by the name of the field.
        grace: how long things have to come to their end.
    """

    port: int
    interface: str
    log_level: LogLevel
    log_file: str | None
    log: Log
    advertise: str | None
    configuration_file: Path | None
    loaded: LoadedSettings
    origins: Mapping[str, str]
    grace: GracePeriods = GRACE
