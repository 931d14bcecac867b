"""Discrete events in virtual time: the autoscaler's own code on recorded requests, judged.

``trace`` reads requests, ``engine`` is one model server with continuous batching, ``fleet`` the
replicas with their lives and bills, ``clients`` the callers with the real pickers, ``run`` the
simulation, ``outcome`` its figures. ``own`` runs meshlb's policy, ``bounds`` an oracle and static
fleets, ``compare`` all of them with the rivals of ``meshlb.sim.rivals``. Seeded: equal input gives
equal results.
"""
