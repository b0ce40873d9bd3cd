"""Pure functions and shared types: no torch, no file access, no clock."""
