"""Programs that use meshlb: a model server, and the demo that balances calls over many of them."""
