"""The job `dedup`: finds pictures that are copies of one another, exactly, and says which to keep.

`python -m training.dedup --config FILE --data DIR --results DIR` only reads the data; training.dedup.removal moves.
"""
