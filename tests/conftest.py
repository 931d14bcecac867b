"""For all tests."""

from hypothesis import HealthCheck, settings

# A slow machine is no fault of the code: no test asserts a time. The examples are the same in every
# run, so that a change is judged by what it changes; --hypothesis-profile=search looks for others.
anywhere = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("any machine", derandomize=True, **anywhere)
settings.register_profile("search", max_examples=3000, print_blob=True, **anywhere)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items):
    """Mark what starts many processes: it takes most of the time, and CI runs it once."""
    for item in items:
        if {"e2e", "actuators"} & set(item.path.parts):
            item.add_marker("processes")
