"""Discrete events in virtual time: the pickers' own code and the controller's own learning, judged.

``run`` is the simulation, ``scenario`` says what to simulate and what came of it, ``nodes``,
``client`` and ``controller`` are its parts. Pure and seeded: equal scenarios give equal results.
"""
