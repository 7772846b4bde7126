"""Clusters of Dask that are started here let nobody in but who holds their key."""

import asyncio
import contextlib
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from reference.processes import environment

from pulsar.batch.cluster import connected
from pulsar.config.model import BatchConfig
from pulsar.errors import ConfigError

pytest.importorskip("distributed", reason="needs the extra `dask`")
pytest.importorskip("cryptography", reason="needs the extra `dask`")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """Dask sets variables of workers in the process that starts them."""
    for name in ("PYTHONSAFEPATH", "MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def listening(pids: list[int]) -> list[tuple[str, int]]:
    """Addresses (as /proc/net has them) and ports on which processes listen."""
    sockets = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(entry.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            address, port = words[1].split(":")
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found.append((address, int(port, 16)))
    return found


async def intrude(ports: list[int], mark: Path) -> None:
    """Ask whatever listens to run code: without TLS, and with a key of one's own."""
    from distributed import Security
    from distributed.core import rpc
    from distributed.protocol.pickle import dumps

    async def ask(address: str, how: str, arguments: dict[str, object]) -> None:
        remote = rpc(address, timeout=0.5, connection_args=arguments)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(
                getattr(remote, how)(function=dumps(Path.touch), args=dumps((mark,)), kwargs=dumps({})), 3.0
            )
        await remote.close_rpc()

    own = Security.temporary().get_connection_args("client")
    ways = [("tcp", Security().get_connection_args("client")), ("tls", own)]
    await asyncio.gather(
        *(ask(f"{form}://127.0.0.1:{port}", how, given) for port in ports for form, given in ways
          for how in ("run", "run_function"))
    )  # fmt: skip


def answered(port: int) -> list[str]:
    """Pages that an HTTP server shows."""
    pages = []
    for page in ("", "health", "metrics", "info/main/workers.html", "json/identity.json", "api/v1"):
        with contextlib.suppress(OSError, ValueError):  # an HTTPError is an OSError
            urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=0.5).close()
            pages.append(page)
    return pages


def test_nobody_without_the_key_runs_code_or_sees_anything(tmp_path):
    mark = tmp_path / "run by a stranger"
    with connected(BatchConfig(), 1, 2, tmp_path, pytest.fail) as client:
        pids = list(client.run(os.getpid).values())
        places = listening([os.getpid(), *pids])
        # Scheduler, two nannies and two workers; and what HTTP servers cannot be left out.
        assert len(places) >= 5
        # On the loopback address only.
        assert {address for address, _ in places} == {"0100007F"}
        asyncio.run(intrude([port for _, port in places], mark))
        assert not mark.exists()
        assert [page for _, port in places for page in answered(port)] == []
        assert client.submit(sum, [1, 2]).result() == 3
    assert list(tmp_path.iterdir()) == []


def test_a_worker_imports_nothing_from_the_folder_of_the_command(tmp_path):
    planted = tmp_path / "multiprocessing.py"
    planted.write_text("import pathlib; pathlib.Path('planted').touch()\n")
    code = (
        "import sys; sys.path.remove('')\n"
        "from pathlib import Path; from pulsar.batch.cluster import connected; "
        "from pulsar.config.model import BatchConfig\n"
        "with connected(BatchConfig(), 1, 1, Path(), print) as client: print(client.submit(sum, [1, 2]).result())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, cwd=tmp_path, timeout=60.0
    )
    assert done.stdout == "3\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [planted.name]


def test_a_scheduler_that_lets_everybody_in_is_told_of(tmp_path):
    from distributed import LocalCluster

    told = []
    with LocalCluster(n_workers=0, dashboard_address=None, silence_logs=50) as cluster:
        config = BatchConfig(scheduler=cluster.scheduler_address)
        with connected(config, 1, 1, tmp_path, told.append):
            pass
    assert len(told) == 1
    assert "lets everybody in" in told[0]


def test_of_a_scheduler_with_tls_the_settings_of_dask_say_where_the_key_is(tmp_path):
    import dask
    from distributed import LocalCluster, Security

    security = Security.temporary()
    for name in ("ca_file", "client_cert", "client_key"):
        (tmp_path / name).write_text(getattr(security, f"tls_{name}"))
    keys = {"ca-file": "ca_file", "client.cert": "client_cert", "client.key": "client_key"}
    given = {f"distributed.comm.tls.{key}": str(tmp_path / name) for key, name in keys.items()}
    with LocalCluster(n_workers=0, dashboard_address=None, silence_logs=50, security=security) as cluster:
        config = BatchConfig(scheduler=cluster.scheduler_address)
        with dask.config.set(given), connected(config, 1, 1, tmp_path, pytest.fail) as client:
            assert client.scheduler.address.startswith("tls://")
        refused = pytest.raises(ConfigError, match="no Dask scheduler answers")
        with refused, connected(config, 1, 1, tmp_path, pytest.fail):
            pass


def test_without_what_makes_keys_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    refused = pytest.raises(ConfigError, match=r"pulsar-search\[dask\]")
    with refused, connected(BatchConfig(), 1, 1, tmp_path, pytest.fail):
        pass
