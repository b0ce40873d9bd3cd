"""The program beside diffusers and beside itself, in one process, as ratios."""
