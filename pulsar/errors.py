"""Errors an astronomer can act on; the command line turns each into its exit code."""


class PulsarError(Exception):
    """A failure of this program (exit code 1)."""

    exit_code = 1


class ConfigError(PulsarError, ValueError):
    """Wrong usage or configuration: says which key, what was expected (exit code 2)."""

    exit_code = 2


class UnknownNameError(ConfigError, KeyError):
    """There is nothing of a name that was asked for: says what there is. A KeyError, too, as mappings raise."""

    def __str__(self) -> str:
        # KeyError shows its message as a text within quotes.
        return str(self.args[0]) if self.args else ""


class DataError(PulsarError, OSError):
    """Input that cannot be read: names the file, the byte, row or key, and the remedy (exit code 3)."""

    exit_code = 3

    def __str__(self) -> str:
        # OSError drops or reformats its arguments; the message is the first one, whole.
        return str(self.args[0]) if self.args else ""
