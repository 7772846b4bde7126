"""The server of judgements: it answers to who has the link, and to nobody else."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from reference.products import make_header, write_beam, write_product

from pulsar.config.model import Config
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, empty_table
from pulsar.errors import ConfigError
from pulsar.io.labels import beside, read_labels, uid_of
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.nights.merge import merge
from pulsar.triage.server import MOST_BODY, Server
from pulsar.triage.site import Site


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    product = write_product(tmp_path_factory.mktemp("server") / "run.h5")
    with Server(Site([read(product)], "ann")) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)) as connection:
        named = {
            name.replace("_", "-"): value.replace("OWN", f"127.0.0.1:{server.server_port}")
            for name, value in headers.items()
        }
        connection.request(method, path.replace("TOKEN", server.token), body, named)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def judge(server: Server, content: Any, **headers: str) -> tuple[int, Any]:
    own = {"Origin": f"http://127.0.0.1:{server.server_port}", "Content_Type": "application/json"}
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    status, _, told = asked(server, "POST", "/TOKEN/labels", body, **(own | headers))
    return status, json.loads(told)


def test_the_page_and_its_sheets(server: Server) -> None:
    status, headers, page = asked(server, "GET", "/TOKEN/")
    assert status == 200
    assert b"pulsarLabels" in page
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert asked(server, "HEAD", "/TOKEN/")[2] == b""
    status, headers, image = asked(server, "GET", "/TOKEN/sheets/c0001.png")
    assert status == 200
    assert image.startswith(b"\x89PNG")
    for sheets in ("sheets", "dense/sheets"):
        status, _, told = asked(server, "GET", f"/TOKEN/{sheets}/c0001.json")
        assert status == 200
        assert "S/N 35.0" in json.loads(told)["a"]
    _, _, dense = asked(server, "GET", "/TOKEN/dense/sheets/c0001.png")
    plain_size, dense_size = (Image.open(io.BytesIO(content)).size for content in (image, dense))
    assert dense_size == (2 * plain_size[0], 2 * plain_size[1])


def test_a_judgement_is_on_the_disk_when_it_is_answered(server: Server) -> None:
    site: Any = server.site
    uid = next(iter(site.rows))
    note = "</script><img src=x onerror=alert(1)>\x1b[2J\n=1+1"
    status, told = judge(server, {"uid": uid, "label": "pulsar", "note": note})
    assert status == 200
    assert told["judged"]["label"] == "pulsar"
    (entry,) = read_labels(beside(site._sources[0].path)).entries
    assert (entry.uid, entry.label, entry.who, entry.id) == (uid, "pulsar", "ann", "c0001")
    assert entry.note == "</script><img src=x onerror=alert(1)>\\x1b[2J =1+1"
    assert json.loads(asked(server, "GET", "/TOKEN/labels")[2])["labels"][uid]["told"] == "pulsar"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        # A name that its owner points to this machine.
        ("GET", "/TOKEN/", {"Host": "evil.example"}, 421),
        ("GET", "/TOKEN/", {"Host": "127.0.0.1"}, 421),
        ("GET", "/TOKEN/", {"Host": "127.0.0.1.evil.example:80"}, 421),
        ("GET", "/TOKEN/labels", {"Origin": "http://evil.example"}, 403),
        ("GET", "/TOKEN/labels", {"Origin": "null"}, 403),
        ("GET", "/TOKEN/labels", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/TOKEN/labels", {"Sec_Fetch_Site": "same-site"}, 403),
        # Without the token, or with a part of it.
        ("GET", "/", {}, 404),
        ("GET", "/labels", {}, 404),
        ("GET", "/TOKE/labels", {}, 404),
        ("GET", "/TOKEN", {}, 404),
        ("GET", "/%C3%A9/", {}, 404),
        # Paths to files.
        ("GET", "/TOKEN/../../etc/passwd", {}, 404),
        ("GET", "/TOKEN/sheets/../run.h5", {}, 404),
        ("GET", "/TOKEN/sheets/%2e%2e/run.h5", {}, 404),
        ("GET", "/TOKEN//etc/passwd.png", {}, 404),
        ("GET", "/TOKEN/run.h5", {}, 404),
        ("GET", "http://evil.example/TOKEN/", {}, 421),
        ("GET", "http://evil.example/TOKEN/", {"Host": "OWN"}, 400),
        ("GET", "/TOKEN/beside?uid=none", {}, 404),
        ("GET", "/TOKEN/beside?uid=c0001&a=1&b=2&c=3&d=4", {}, 400),
        ("GET", "/TOKEN/?" + "&".join(f"a{i}=1" for i in range(5000)), {}, 400),
        ("PUT", "/TOKEN/labels", {}, 405),
        ("DELETE", "/TOKEN/labels", {}, 405),
        ("OPTIONS", "/TOKEN/labels", {}, 405),
        ("TRACE", "/TOKEN/", {}, 405),
        ("PATCH", "/TOKEN/", {}, 405),
        ("BREW", "/TOKEN/", {}, 501),
        ("POST", "/TOKEN/", {}, 405),
        ("POST", "/TOKEN/sheets/c0001.png", {}, 405),
    ],
)
def test_others_are_refused(server: Server, method: str, path: str, headers: dict[str, str], status: int) -> None:
    found, answered, content = asked(server, method, path, **headers)
    assert found == status
    assert "Access-Control-Allow-Origin" not in answered
    assert b"pulsarLabels" not in content


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        ({"uid": "UID", "label": "pulsar"}, {"Origin": "http://evil.example"}, 403),
        ({"uid": "UID", "label": "pulsar"}, {"Origin": ""}, 403),
        ({"uid": "UID", "label": "pulsar"}, {"Content_Type": "text/plain"}, 415),
        ({"uid": "UID", "label": "pulsar"}, {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"uid": "UID", "label": "alien"}, {}, 400),
        ({"uid": "../x", "label": "pulsar"}, {}, 400),
        ({"uid": 3, "label": "pulsar"}, {}, 400),
        ({"uid": "UID", "label": ["pulsar"]}, {}, 400),
        (["UID", "pulsar"], {}, 400),
        (b"{", {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"[" * 60000, {}, 400),
        (b" " * (MOST_BODY + 1), {}, 413),
    ],
)
def test_what_is_no_judgement_is_refused(server: Server, content: Any, headers: dict[str, str], status: int) -> None:
    site: Any = server.site
    before = site.judgements().entries
    if isinstance(content, dict) and content["uid"] == "UID":
        content = {**content, "uid": next(iter(site.rows))}
    found, told = judge(server, content, **headers)
    assert found == status
    assert told["error"]
    assert site.judgements().entries == before


@pytest.mark.parametrize(
    "lines",
    [
        ["Transfer-Encoding: chunked", "", "5", "hello", "0", "", ""],
        ["Content-Length: -1", "", ""],
        ["Content-Length: 99999999999999999999", "", ""],
        ["", ""],
    ],
)
def test_bodies_of_unknown_length_are_refused(server: Server, lines: list[str]) -> None:
    host = f"127.0.0.1:{server.server_port}"
    head = [f"POST /{server.token}/labels HTTP/1.1", f"Host: {host}", f"Origin: http://{host}"]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall("\r\n".join([*head, "Content-Type: application/json", *lines]).encode())
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
    assert answer.startswith(b"HTTP/1.1 411 ")


def test_a_link_may_be_followed_from_elsewhere(server: Server) -> None:
    assert asked(server, "GET", "/TOKEN/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")[0] == 200
    assert asked(server, "GET", "/TOKEN/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="iframe")[0] == 403


def test_what_a_browser_is_started_with_leads_to_the_page_once(server: Server) -> None:
    path = urlsplit(server.once()).path
    assert asked(server, "GET", "/TOKENx/")[0] == 404
    assert server.token not in path
    assert asked(server, "GET", f"{path}labels")[0] == 404
    status, headers, _ = asked(server, "GET", path)
    assert (status, headers["Location"]) == (303, f"/{server.token}/")
    assert asked(server, "GET", path)[0] == 404
    assert asked(server, "GET", "//")[0] == 404


def test_two_host_headers_are_refused(server: Server) -> None:
    host = f"127.0.0.1:{server.server_port}"
    head = [f"GET /{server.token}/ HTTP/1.1", f"Host: {host}", "Host: evil.example", "", ""]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall("\r\n".join(head).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 421 ")


def test_it_is_met_on_the_loopback_address_only(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert len(server.token) >= 32
    with pytest.raises(ConfigError, match="give another --port"):
        Server(server.site, server.server_port)


def test_single_pulses_are_judged_by_names_for_good(tmp_path: Path) -> None:
    pulses = empty_table(SINGLE_PULSE_COLUMNS, 2)
    pulses["rank"], pulses["id"], pulses["time"] = [1, 2], ["p0001", "p0002"], [3.0, 9.0]
    pulses["mjd"], pulses["dm"], pulses["snr"] = [59000.25, 59000.5], 56.71, [8.0, 20.0]
    pulses["sigma"], pulses["score"] = 6.0, [0.5, 0.9]
    source = tmp_path / "x.fil"
    source.write_bytes(b"1")
    product = tmp_path / "p.h5"
    with ProductWriter(product) as writer:
        writer.observation(make_header())
        writer.table("candidates", empty_table(CANDIDATE_COLUMNS, 0))
        writer.table("single_pulses", pulses)
        writer.provenance(Provenance(("pulsar",), (source,), "", 1).record({"search": (1.0, 1.0)}))
    site = Site([read(product)], "ann")
    uid = "mjd59000.25000000-dm56.71"
    assert f'"u":"{uid}"' in site.page.decode()
    site.keep({"uid": uid, "label": "pulsar"})
    found = site.beside(uid)
    assert found is not None
    assert [row["told"].split(": ")[1] for row in found["rows"]] == ["p0001"]
    # In the merged list they stand in another order.
    merged = merge([read(product)], Target(tmp_path / "ALL.h5"), Config())
    rows = merged.rows("single_pulses")
    labels = read_labels(beside(merged.path))
    assert [labels.label_text(uid_of(row)) for row in rows] == ["", "pulsar"]


def test_rows_of_other_observations_stand_beside(tmp_path: Path) -> None:
    # An orbit in the second, another pulsar in the third.
    factors = {1: 1.0, 2: 1.0004, 3: 1.2}
    paths = [write_beam(tmp_path / f"M{beam:02d}.h5", beam, factor) for beam, factor in factors.items()]
    site = Site([read(path) for path in paths], "ann")
    found = site.beside("1a")
    assert found is not None
    assert [row["told"].split(":")[0] for row in found["rows"]] == [
        "J0534+2200, beam 1, MJD 58999.12346", "J0534+2200, beam 2, MJD 58999.12346"
    ]  # fmt: skip
    sheet = site.sheet(found["rows"][1]["sheet"])
    assert sheet is not None
    assert sheet.image["png"].startswith(b"\x89PNG")
    # What belongs to another row is told beside that.
    third = site.beside("3a")
    assert third is not None
    assert len(third["rows"]) == 1
