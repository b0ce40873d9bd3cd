"""The gallery: one HTML page with clips that play, their recipes, filters, XY plots and comparison."""
