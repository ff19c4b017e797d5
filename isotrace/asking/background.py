"""A thread that goes on until it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Runs ``run`` in a thread of that name; ``over`` is set when it is to return."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """Tell it to end, and wait for that; one that was never started has."""
        self.over.set()
        if self._thread.ident is not None:
            self._thread.join()
