"""What each stage of the paper trains, and on what loss."""
