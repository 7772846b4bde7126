"""The pictures of docs/gallery.md are those of its script, small, and show what the page says of them."""

import re
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "docs"))

import gallery  # noqa: E402

#: Name -> period [s] and DM [pc/cm3] within their errors, and flags.
SHOWN = {
    "pulsar": (0.0893, 68.0, ""),
    "binary": (0.0057, 38.8, ""),
    "rrat": (1.37, 92.0, ""),
    "burst": (None, 120.0, ""),
    "interference": (1 / 0.9, None, "narrow-band"),
}


def test_the_page_has_every_picture_and_none_is_large() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\(gallery/(\w+)\.png\)", page)
    assert names == list(gallery.PICTURES) == list(SHOWN)
    assert sorted(path.stem for path in gallery.FOLDER.iterdir()) == sorted(names)
    assert max((gallery.FOLDER / f"{name}.png").stat().st_size for name in names) < 150_000


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_shows_what_is_said_of_it(tmp_path: Path, name: str) -> None:
    mpl.use("Agg")
    run, row = gallery.searched(gallery.PICTURES[name], tmp_path / "run.h5")
    rows = run.pulses if gallery.PICTURES[name].kind == "pulse" else run.sources
    (found,) = rows[rows["id"] == row]
    period, dm, flags = SHOWN[name]
    for key, value in {"period": period, "dm": dm}.items():
        if value is not None:
            assert abs(found[key].value - value) < 3 * found[f"{key}_err"].value, key
    assert found["rfi_flags"] == flags
    assert (found["score"] > 0.9) == (flags == "")
