"""How the bundled pocket model is made: the world it is trained on, its training recipe, its measures."""
