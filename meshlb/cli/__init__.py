"""The command ``meshlb``: one file a command, found by its name; ``__main__`` only dispatches.

A command's file has a docstring whose first line is its help, ``arguments(parser)`` and
``run(args) -> exit code``: 0 done, 1 it failed or the controller is not there, 2 it was called
wrongly, 3 the controller refuses it as things stand, such as a stale etag. Errors are raised, and
``__main__`` prints them as one line a fault on standard error. Files named ``_*.py`` are shared.
"""
