"""The public functions: what notebooks and scripts call, as ``pulsar.search(…)`` and so on.

Everything that is public is in ``pulsar.__all__``: these functions, the data types that they take and return, the
configuration and the errors. All other modules are the inside of the program and may change.

Numbers are in the unit that the documentation names, or astropy quantities. Defaults are those of the configuration
(:class:`pulsar.Config`), so that a notebook and the command line find the same. No file is written but where its name
is given. What is wrong raises :class:`pulsar.ConfigError` (a value, a unit, a call that makes no sense) or
:class:`pulsar.DataError` (a file that cannot be read, data in which nothing is left).
"""
