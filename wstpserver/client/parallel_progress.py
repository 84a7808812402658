"""A progress bar for parallel work, by tqdm."""

from __future__ import annotations

from typing import Any


class ProgressBar:
    """Counts items that are done, on stderr. `total`: None if not known. ImportError without tqdm."""

    def __init__(self, total: int | None) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError(
                "a progress bar needs tqdm, which is not installed: pip install 'wstpserver[progress]'"
            ) from None
        self._bar = tqdm(total=total, unit="item")

    def advance(self, _: Any) -> None:
        """One more is done; threads may call it at once, and after `close`."""
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        self._bar.close()
