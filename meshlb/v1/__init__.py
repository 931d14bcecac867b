"""Code generated from protos/meshlb/v1 by scripts/gen_protos.py; never edited."""
