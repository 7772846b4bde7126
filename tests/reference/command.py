"""A command line, run in the process of the tests."""

from typer.testing import CliRunner

from pulsar.cli.app import app


def run(*args: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``pulsar`` with these arguments."""
    result = CliRunner().invoke(app, [str(a) for a in args])
    return result.exit_code, result.stdout, result.stderr
