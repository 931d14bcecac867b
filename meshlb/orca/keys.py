"""Keys of ``named_metrics`` in the ORCA reports that ``meshlb.orca`` serves; pure constants.

ORCA has fields for utilisation and rates only; what else a balancer needs travels under these.
Counters run from the server's start. Other readers of ORCA may ignore them.
"""

IN_FLIGHT = "meshlb.in_flight"
"""Calls started and not done, queued ones included."""
QUEUED = "meshlb.queued"
"""Of these, calls that wait for a slot."""
SLOTS = "meshlb.slots"
"""Calls served at once, where slots are enforced."""
SUCCEEDED = "meshlb.succeeded"
"""Calls ended with OK."""
FAILED = "meshlb.failed"
"""Calls ended otherwise."""
TOKENS_IN = "meshlb.tokens_in"
TOKENS_OUT = "meshlb.tokens_out"
TTFT_S = "meshlb.time_to_first_token_s"
"""Mean over the calls whose first token came in the last 10 s, in seconds."""
LATENCY_COUNT = "meshlb.latency_count."
"""Followed by the occupancy found at the start, as a whole number: calls ended with OK."""
LATENCY_SUM_S = "meshlb.latency_sum_s."
"""Followed by the same: sum of their latencies, in seconds."""
PREFIX = "meshlb."
