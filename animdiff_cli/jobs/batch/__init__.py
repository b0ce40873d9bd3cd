"""Many renders from one file: planned as a whole, rendered once each."""
