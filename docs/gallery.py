"""Make the sheets of gallery.md anew, in gallery/: `python docs/gallery.py [NAME...]`.

Each is that of the strongest row of a search of an observation that is simulated here.
"""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pulsar

FOLDER = Path(__file__).resolve().parent / "gallery"
#: What all observations have, unless they say otherwise.
SKY = {"nchans": 128, "fch1": 1497.0, "foff": -3.90625, "tsamp": 256e-6, "tobs": 60.0, "bandpass": "rolloff", "seed": 3}


@dataclass(frozen=True)
class Picture:
    """An observation (fields of `pulsar.simulate`), settings of its search, and of which kind the row is."""

    sky: dict[str, Any]
    settings: tuple[str, ...] = ()
    kind: str = field(default="periodic", kw_only=True)


PICTURES = {
    "pulsar": Picture({"pulsars": [{"period": 0.0893, "dm": 68.0, "snr": 30.0, "duty": 0.04}]}),
    "binary": Picture(
        {
            "pulsars": [
                {
                    "period": 0.0057,
                    "dm": 38.8,
                    "snr": 30.0,
                    "duty": 0.1,
                    "orbit": {"pb": 7200.0, "x": 0.6, "phase": 0.25},
                }
            ],
            "tobs": 240.0,
            "nchans": 64,
            "foff": -7.8125,
        },
        ("accel.zmax=50",),
    ),
    "rrat": Picture({"pulsars": [{"period": 1.37, "dm": 92.0, "snr": 40.0, "duty": 0.01, "nulling": 0.8}]}),
    "burst": Picture({"bursts": [{"time": 31.7, "dm": 120.0, "width": 2e-3, "snr": 30.0}]}, kind="pulse"),
    "interference": Picture(
        {
            "rfi": [
                {
                    "kind": "radar",
                    "freqs": [1215.0, 1315.0],
                    "strength": 0.1,
                    "rate": 0.9,
                    "width": 0.05,
                    "scan": 5.0,
                    "fraction": 1.0,
                }
            ]
        }
    ),
}


def searched(picture: Picture, path: Path) -> tuple[pulsar.Run, str]:
    """The run of a picture, and the name of its strongest row."""
    observed = pulsar.simulate(**(SKY | picture.sky))
    run = pulsar.search(observed, config=pulsar.load_config("default", picture.settings), dm=(0, 150), out=path)
    rows = run.sources if picture.kind == "periodic" else run.pulses
    return run, str(rows["id"][rows["snr"].argmax()])


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        with TemporaryDirectory() as folder:
            run, row = searched(PICTURES[name], Path(folder) / f"{name}.h5")
            pulsar.write_report(run, Path(folder) / "report")
            shutil.copy(Path(folder) / "report" / "sheets" / f"{row}.png", FOLDER / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
