"""The model catalog and local model storage: resolve aliases to catalog entries and local paths."""
