"""The command ``meshlb``: one file a command, found by its name; ``__main__`` only dispatches.

A command's file has a docstring whose first line is its help, ``arguments(parser)`` and
``run(args) -> exit code``: 0 done, 1 it failed, 2 it was called wrongly.
"""
