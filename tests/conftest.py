"""For all tests."""

from hypothesis import HealthCheck, settings

# A slow machine is no fault of the code: no test asserts a time. The examples are the same in every
# run, so that a change is judged by what it changes; --hypothesis-profile=search looks for others.
anywhere = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("any machine", derandomize=True, **anywhere)
settings.register_profile("search", max_examples=3000, print_blob=True, **anywhere)
settings.load_profile("any machine")
