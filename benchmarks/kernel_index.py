"""Write kernels/pulsar_kernels/index.py: the versions of kernels that searches call.

    python tests/packaging/cold.py --types types.pkl && python benchmarks/kernel_index.py types.pkl

The types are those that the searches of all kinds in cold.py were seen to use. To be run again when a kernel has got
other arguments.
"""

import pickle
import sys
import textwrap
from pathlib import Path
from typing import Any

from numba import types

from pulsar_kernels.index import VERSIONS

TARGET = Path(__file__).resolve().parents[1] / "kernels" / "pulsar_kernels" / "index.py"
#: Kernels that the small files of cold.py do not need, or not for all types: stages of a plan and series that are
#: downsampled, candidates folded from words, gaps, signals injected to tell the completeness. Their versions are taken
#: over from the index as it is: a new one is written there by hand.
OTHERS = (
    "cells.runs_either",
    "dedisperse.halve_pairs",
    "dedisperse.halve_series",
    "dedisperse.halve_words",
    "dedisperse.requantise",
    "fold.fold_band",
    "shear.shear_add",
    "sprinkle.add_steps",
    "subbands.add_band",
    "whiten.whiten_amplitudes",
)
HEAD = '''"""What versions of kernels searches call, the most expensive to compile first.

Written by benchmarks/kernel_index.py; `pulsar_kernels.ahead` tells how the types are meant.
"""

VERSIONS = (
'''


def text(kind: Any) -> str:
    """A type as `pulsar_kernels.ahead` reads it."""
    if isinstance(kind, types.Array):
        last = "::1" if kind.layout == "C" else ":"
        shape = ",".join([":"] * (kind.ndim - 1) + [last])
        return f"{'' if kind.mutable else 'const '}{kind.dtype}[{shape}]"
    if isinstance(kind, types.BaseNamedTuple):
        module = kind.instance_class.__module__.rpartition(".")[2]
        return f"{module}.{kind.instance_class.__name__}"
    return str(kind)


def main() -> None:
    seen = {line: 0.0 for line in VERSIONS if line.partition("(")[0] in OTHERS}
    for name, args, seconds in pickle.loads(Path(sys.argv[1]).read_bytes()):
        if name.startswith("pulsar_kernels."):
            line = f"{name.removeprefix('pulsar_kernels.')}({', '.join(text(a) for a in args)})"
            seen[line] = max(seen.get(line, 0.0), seconds)
    lines = []
    for line in sorted(seen, key=lambda key: (-seen[key], key)):
        parts = [f'    "{part}"' for part in textwrap.wrap(line, 108, drop_whitespace=False)]
        lines.append("\n".join(parts) + ",")
    TARGET.write_text(HEAD + "\n".join(lines) + "\n)\n")


if __name__ == "__main__":
    main()
