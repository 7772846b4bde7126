"""Options of scripts that are numbers: of the type of their defaults, which `--help` tells."""

import argparse


def numbers(about: str | None, **defaults: float) -> argparse.ArgumentParser:
    """A parser with an option for each number; ``p_min=0.5`` is ``--p-min``.

    Parameters
    ----------
    about : str
        What the script does.
    **defaults : int or float
        Of an int only whole numbers are taken.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help="default %(default)s")
    return parser
