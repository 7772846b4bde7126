"""The scripts of benchmarks/ can be imported here: they are developers' tools and not in the package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
