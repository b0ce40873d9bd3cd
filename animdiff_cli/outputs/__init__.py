"""Clips written to files that carry their recipe."""
