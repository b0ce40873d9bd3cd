"""AnimateDiff as a command-line program and a small Python API."""
