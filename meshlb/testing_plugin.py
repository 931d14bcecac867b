"""The pytest plugin: fixtures over ``meshlb.testing``, loaded by pytest itself."""
