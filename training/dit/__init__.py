"""The job `dit`: learns to draw the pictures of an image folder, class by class, with a diffusion transformer.

`python -m training.dit --config FILE --data DIR --results DIR` reads pictures; writes checkpoints, a record and grids.
"""
