"""Metrics of clips. Formulas are in docs/concepts/metrics.md."""
