"""Build the bundled pocket model: the world it is trained on, its training recipe, its evaluation."""
