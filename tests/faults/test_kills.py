"""A search is killed at any moment: the same command goes on with it, to the same candidates, and leaves no trace."""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from faults.conftest import made, names, results, search
from reference.processes import start


def stages(out: Path) -> set[str]:
    """Finished stages that are beside a product."""
    return {path.name for path in out.with_name(f"{out.name}.parts").glob("*.npz")}


def kill_and_go_on(observation: Path, product: Path, folder: Path, kills: int, seed: int) -> None:
    """Kill a search so often, at random; whenever it comes to its end, and at last, it must be right."""
    out, chance, done, completed, longest = folder / "run.h5", random.Random(seed), 0, 0, 4.0
    while True:
        before = stages(out)
        process = start(search(observation, out, "--resume", "-q"))
        begun = time.monotonic()
        if done < kills:
            try:
                process.wait(chance.uniform(0.0, 1.2 * longest))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                done += 1
                # What was finished before is not lost by going on: it is still there, or the product is.
                assert before <= stages(out) or out.exists()
                continue
        _, told = process.communicate()
        assert process.returncode == 0, told
        longest = time.monotonic() - begun
        assert results(out) == results(product)
        assert names(folder) == ["run.h5"]
        completed += 1
        if done >= kills:
            return
        out.unlink()


def test_two_kills(observation: Path, product: Path, tmp_path: Path) -> None:
    kill_and_go_on(observation, product, tmp_path, 2, seed=1)


@pytest.mark.slow
def test_thirty_kills(observation: Path, product: Path, tmp_path: Path) -> None:
    kill_and_go_on(observation, product, tmp_path, 30, seed=2)


@pytest.mark.parametrize("at", ["parts", "fingerprint", "product", "both names"])
def test_what_a_kill_can_leave(at: str, observation: Path, product: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    parts = tmp_path / "run.h5.parts"
    parts.mkdir()
    (tmp_path / ".run.h5.lock").write_text('{"pid": 1')
    part = tmp_path / ".run.h5.part"
    if at == "both names":
        # Killed between the product's second name and the end of its first.
        out.write_bytes(product.read_bytes())
        part.hardlink_to(out)
    elif at == "product":
        part.write_bytes(product.read_bytes()[:5000])
    else:
        (parts / {"parts": ".mask.npz.part", "fingerprint": ".fingerprint.part"}[at]).write_bytes(b"PK")
    made(observation, out, "--resume")
    assert results(out) == results(product)
    assert names(tmp_path) == ["run.h5"]


def test_a_product_with_two_names_outlives_a_failure(observation: Path, product: Path, tmp_path: Path) -> None:
    from pulsar.data.unfinished import Unfinished

    out = tmp_path / "run.h5"
    out.write_bytes(product.read_bytes())
    (tmp_path / ".run.h5.part").hardlink_to(out)
    file = Unfinished(out)
    file.part.write_bytes(b"half")
    file.discard()
    assert out.read_bytes() == product.read_bytes()
    assert names(tmp_path) == ["run.h5"]
