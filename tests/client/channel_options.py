"""Options of channels, and of calls, that many tests use."""

import json

LONG = {"timeout": 60}
ROUND_ROBIN = [("meshlb.picker", "round_robin")]


def config(**method):
    """A service config with this entry for every method."""
    return [("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], **method}]}))]


IDEMPOTENT = config(idempotent=True)
