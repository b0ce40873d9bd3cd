"""Training of domain adapters, motion modules and MotionLoRAs.

`objective` and `losses` hold the method, `stages` what each stage of the paper trains, `loop` and `optimizer` the run,
`data` the way from footage to batches.
"""
