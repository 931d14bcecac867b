"""For all tests."""

from hypothesis import settings

# A slow machine is no fault of the code: no test asserts a time.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
