"""Code generated from examples/modelserver/v1 by scripts/gen_protos.py; never edited."""
