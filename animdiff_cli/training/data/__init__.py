"""From footage to batches, in this order.

`find` lists files, `probe` reads their timelines, `clip_sampling` chooses frames and camera move, `decode`, `pictures`
and `crop` produce pixels, `latents` and `texts` cache what the VAE and text encoders make of them, `batches` loads.
"""
