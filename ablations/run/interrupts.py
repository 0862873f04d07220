"""What SIGINT, SIGTERM and SIGHUP do: the first ends a run where it can go on from, a second ends it at once.

GNU `timeout` and cluster schedulers send a signal to a process and again to its group, milliseconds apart: the same
signal within `ECHO` seconds is still the first one. A process has one set of signal handlers, so what was heard is kept
here once for the process.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: a terminal's ctrl-C, a cluster that takes its machine back, a terminal that closes
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

#: seconds within which the same signal, sent again, is no second request
ECHO = 0.25


class AtOnce(BaseException):
    """A second signal: nothing more is to be finished."""


@dataclass
class _Heard:
    number: int | None = None
    at: float = 0.0
    deferred: bool = False


_heard = _Heard()


def asked() -> int | None:
    """The signal that asked this process to end, if one did."""
    return _heard.number


def exit_code() -> int:
    """128 and the number of the signal, as a shell has it; ctrl-C's where none was heard."""
    return 128 + (_heard.number or signal.SIGINT)


@contextmanager
def listening() -> Iterator[None]:
    """Within, a first signal raises `KeyboardInterrupt`, unless it is `deferred`, and a second one `AtOnce`."""
    _heard.number, _heard.deferred = None, False
    if threading.current_thread() is not threading.main_thread():
        # only the main thread may say what signals do
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    # what was started to outlive its terminal ignores the terminal's signal
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, _hear)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Within, a first signal is only noted: `asked` says so, and what must not be cut in two is finished."""
    _heard.deferred = True
    try:
        yield
    finally:
        _heard.deferred = False


@contextmanager
def breakable() -> Iterator[None]:
    """Within `deferred`, what leaves nothing half done: a signal raises `KeyboardInterrupt`, also one noted before."""
    _heard.deferred = False
    try:
        if _heard.number is not None:
            raise KeyboardInterrupt
        yield
    finally:
        _heard.deferred = True


def _hear(number: int, frame: Any) -> None:
    now = time.monotonic()
    if _heard.number == number and now - _heard.at < ECHO:
        return
    if _heard.number is not None:
        for other in SIGNALS:
            if signal.getsignal(other) is _hear:
                signal.signal(other, signal.SIG_DFL)
        raise AtOnce
    _heard.number, _heard.at = number, now
    if not _heard.deferred:
        raise KeyboardInterrupt
