"""How a run ends that is told to end: in order where it can, in time in any case.

A signal is answered by an exception in the main thread, which unwinds what was begun. That waits for kernels that run,
and comes to nothing where a library swallows it. So a thread watches: what has not ended by then is ended, after the
files that nobody may find are removed.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from pulsar.data.unfinished import ENDS, GO_ON, remove_fleeting, something_left

#: Exit code after Ctrl-C, as of shells: 128 + 2.
INTERRUPTED: Final = 128 + signal.SIGINT
#: A run that was told to end has so long to do so [s]: of the 5 s that are promised, the last second is for who waits.
PATIENCE: Final = 3.5
#: Signals that follow sooner are the same: batch systems send them to the process and to its group [s].
SAME: Final = 0.5


def words(number: int, notes: Sequence[str] = ()) -> str:
    """The message of an end by a signal."""
    first = "interrupted" if number == signal.SIGINT else "ended from outside"
    return "; ".join([first, *notes])


class Ending:
    """Answers SIGINT and SIGTERM in this process.

    Attributes
    ----------
    number : int
        Of the signal that came; 0 before.
    announced : bool
        The end has been told to whoever reads stderr.
    """

    def __init__(self) -> None:
        self.number = 0
        self.announced = False

    def begin(self) -> None:
        """Answer from now on; called by the main thread."""
        for number in ENDS:
            # In the background of a shell Ctrl-C is for others.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._answer)
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        # A child that was forked is told for itself.
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        # Where not even a thread can be had nobody watches, and the command will say what is wrong.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._watch, args=(read,), daemon=True, name="ending").start()

    def _answer(self, number: int, _frame: FrameType | None) -> None:
        # Once: what unwinds is not to be disturbed.
        if not self.number:
            self.number = number
            raise answer(number)

    def _watch(self, read: int) -> None:
        number = _next(read, None)
        began = time.monotonic()
        while (left := began + PATIENCE - time.monotonic()) > 0.0:
            if _next(read, left) and time.monotonic() > began + SAME:
                break  # asked for again
        self.number = self.number or number
        self.now(128 + number)

    def now(self, code: int) -> NoReturn:
        """End at once, and leave nothing that a run must not leave."""
        with contextlib.suppress(BaseException):
            if not self.announced:
                notes = [GO_ON] if something_left() else []
                os.write(2, f"pulsar: {words(self.number, notes)}\n".encode())
        with contextlib.suppress(BaseException):
            remove_fleeting()
        for pid in children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        os._exit(code)


def answer(number: int) -> BaseException:
    """The exception that a signal means: a batch system's SIGTERM unwinds like an error."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _next(read: int, timeout: float | None) -> int:
    """The next signal of those that end a run; 0 where none comes in time."""
    while select.select([read], [], [], timeout)[0]:
        number = os.read(read, 1)[0]
        if number in ENDS:
            return number
    return 0


def children() -> list[int]:
    """Processes that this one has started and that have not ended."""
    pids: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            pids += map(int, path.read_text().split())
    return pids


def run(command: Callable[[], object]) -> None:
    """Run the command line, to an end in time."""
    # What is loaded makes 300,000 objects that stay, a search a thousand in cycles: nothing to look for meanwhile.
    gc.set_threshold(500_000, 20, 50)
    ending = the_one
    ending.begin()
    try:
        command()
    except SystemExit as stop:
        if ending.number:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            # All is unwound. Python would wait for threads that have nobody left to work for.
            ending.now(stop.code if isinstance(stop.code, int) else 1)
        raise
    finally:
        # Python would look through all that libraries have made for cycles before it ends: 0.4 s after a search.
        gc.freeze()


#: Of this process.
the_one: Final = Ending()
