"""Training data: find footage, decode it, sample clips, and cache latents and text embeddings."""
