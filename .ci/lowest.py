"""Prints the lowest versions that a pyproject.toml promises, as constraints of pip: lowest.py pyproject.toml."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
extras = project["optional-dependencies"]
for text in (*project["dependencies"], *extras["test"], *extras["fbh5"]):
    match = re.fullmatch(r"([\w-]+)>=([\d.]+)", text)
    if match is None:
        raise SystemExit(f"{text}: expected name>=version")
    sys.stdout.write("==".join(match.groups()) + "\n")
