"""The maker of hostile HDF5 structures: it finds them, and HDF5's own checks find nothing wrong with what it makes."""

import io
import random
from pathlib import Path

import h5py
import pytest
from fuzz.hdf5_structure import CHECKED, hostile, structures
from fuzz.kinds import fbh5, mask_files, newest, product_files


@pytest.fixture(params=[fbh5, mask_files, product_files])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """In the newest form of HDF5, which has checksums."""
    return newest(request.param)(tmp_path)[-1]


def test_every_structure_with_a_checksum_is_found(sample: bytes) -> None:
    parts = [part for some in structures(sample).parts.values() for part in some]
    checked = [part.checksum for part in parts if part.checksum is not None]
    assert all(sample[one.at : one.at + 4] == one.of(sample) for one in checked)
    places = {one.start for one in checked}
    signatures = (*CHECKED, b"FHDB", b"OHDR")
    assert {sample.find(signature) for signature in signatures} - {-1} <= places
    assert len(places) > 5


def test_old_files_have_their_headers_found(tmp_path: Path) -> None:
    found = structures(product_files(tmp_path)[0])
    with h5py.File(io.BytesIO(found.data)) as file:
        names: list[str] = []
        file.visit(names.append)
        assert len(found.parts["old header"]) == len(names) + 1
        # Of every data set its space, its type, how it is laid out; of every group its symbol table.
        sets = sum(isinstance(file[name], h5py.Dataset) for name in names)
    assert [len(found.parts[f"message {kind}"]) for kind in (1, 3, 8)] == [sets] * 3
    assert len(found.parts["message 17"]) == len(names) + 1 - sets


def test_what_was_changed_has_right_checksums(sample: bytes) -> None:
    found = structures(sample)
    parts = [part for some in found.parts.values() for part in some if part.checksum is not None]
    differing = 0
    for seed in range(200):
        made = hostile(random.Random(seed), sample)
        differing += made != sample
        # Those that no change has reached are as they were, the others right again.
        assert all(made[p.checksum.at : p.checksum.at + 4] == p.checksum.of(made) for p in parts if p.checksum)
    assert differing > 150
