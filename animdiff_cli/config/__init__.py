"""Settings: one record for a render, one for a training run, and the layers they are read from."""
