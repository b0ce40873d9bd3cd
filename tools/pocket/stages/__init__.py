"""The stages of the recipe, in the order they are trained: vae, decoder, image, motion."""
