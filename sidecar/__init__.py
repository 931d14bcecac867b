"""The per-node agent: beside each model server, it streams the node's load to the controllers.

Run as ``meshlb-sidecar``; nobody imports it. ``agent`` reads the probes and keeps one stream to
each controller; ``probes`` has one file per source of signals.
"""
