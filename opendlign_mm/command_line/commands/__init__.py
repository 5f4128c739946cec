"""Sub-commands of ``opendlign``, one a module: ``add_options`` and ``run``, which returns the exit code.

The first line of a module's docstring is its line in ``opendlign --help``.
"""
