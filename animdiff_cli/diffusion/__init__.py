"""Rendering: `pipeline` is the method on one page; conditions, predictors, schedulers, VAE and devices serve it."""
