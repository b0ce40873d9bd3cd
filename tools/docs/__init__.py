"""What the guides show, made by running it."""
