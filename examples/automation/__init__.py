"""Scaling by RPC from a program of your own."""
