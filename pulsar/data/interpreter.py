"""Processes of Python that this program starts: they take no module from the folder in which they begin."""

import os
import site
import sys
from collections.abc import Mapping


def command(*arguments: str) -> list[str]:
    """The command of a Python process with the modules that this one has.

    Parameters
    ----------
    *arguments : str
        Such as ``"-m", "pulsar.batch.process"``.
    """
    return [sys.executable, "-P", *([] if _of_user() else ["-s"]), *arguments]


def _of_user() -> bool:
    """Whether modules of this process are from the user's own folder, as after ``pip install --user``."""
    if not site.ENABLE_USER_SITE:
        return False
    own = os.path.join(site.getusersitepackages(), "")  # noqa: PTH118  # of a prefix of texts
    return any(str(getattr(module, "__file__", None) or "").startswith(own) for module in list(sys.modules.values()))


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process, and of those that it starts.

    Relative entries of ``PYTHONPATH``, of which an empty one is the current folder, are left out.

    Parameters
    ----------
    more : mapping of str to str, optional
        What else is set.
    """
    found = {**os.environ, "PYTHONSAFEPATH": "1", **(more or {})}
    if "PYTHONPATH" in found:
        entries = found["PYTHONPATH"].split(os.pathsep)
        found["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if os.path.isabs(entry))  # noqa: PTH117
    return found
