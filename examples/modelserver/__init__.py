"""A small model server, to have something to balance: ``python -m examples.modelserver --help``."""
