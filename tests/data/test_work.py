"""Work shared out over threads."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pulsar.config.resources import share_out


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("number", [0, 2, 1000])
def test_each_item_is_worked_on_once(threads: int, number: int) -> None:
    done: list[int] = []

    def work(left: Iterator[int]) -> None:
        for item in left:
            done.append(item)

    with ThreadPoolExecutor(threads) as pool:
        share_out(pool, threads, range(number), work)
    assert sorted(done) == list(range(number))


def test_after_an_error_nothing_more_is_begun() -> None:
    begun: list[int] = []
    failed = threading.Event()

    def work(left: Iterator[int]) -> None:
        for item in left:
            begun.append(item)
            if item == 0:
                failed.set()
                raise ValueError("the first")
            failed.wait(10.0)

    with pytest.raises(ValueError, match="the first"), ThreadPoolExecutor(2) as pool:
        share_out(pool, 2, range(10_000_000), work)
    assert len(begun) < 5_000_000
