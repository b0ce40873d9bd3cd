"""Device, pipeline parts, schedulers, text, noise, the denoising loop and decoding."""
