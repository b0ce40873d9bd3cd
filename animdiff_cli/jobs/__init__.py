"""Use-cases: what the commands do, callable from Python."""
