"""The demo's second act: a fleet that grows and shrinks with its load, and breaks no call."""
