"""A search called from several threads at once."""

import threading
from collections.abc import Callable, Sequence
from typing import Any


def side_by_side(search: Callable[[Any], Any], series: Sequence[Any], threads: int) -> list[Any]:
    """What a search finds in each of some series, shared out among threads that begin together."""
    found: list[Any] = [None] * len(series)

    def work(first: int) -> None:
        for i in range(first, len(series), threads):
            found[i] = search(series[i])

    started = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return found
