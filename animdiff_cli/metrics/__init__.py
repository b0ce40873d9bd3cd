"""What a clip is worth in numbers. Each definition is written once, with its formula in docs/concepts/metrics.md."""
