"""`animdiff serve`, which keeps models loaded, and the client that renders with it.

`wire`, `registration`, `client` and `via` are the client's side: they never import torch.
"""
