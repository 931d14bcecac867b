"""The controller's shell: gRPC in, ``policy.fleet`` asked, tables and shares out.

One event loop, no locks. ``app`` is the only wiring; ``balance_service`` turns streams into
observations, ``ticker`` turns plans into messages, which ``frames`` encodes, ``mailbox`` keeps the
newest for each watcher.
"""
