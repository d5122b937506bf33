"""The job `classifier`: learns to tell the classes of an image folder, on the CPU, exactly resumable.

`python -m training.classifier --config FILE --data DIR --results DIR` reads pictures, writes checkpoints and a record.
"""
