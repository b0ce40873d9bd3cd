"""Weights in the wild: opened safely, identified, mapped between key layouts."""
