"""What every job shares: the command line, the configuration's rules, one attempt at a run, exact resumption.

A job brings a package `training.NAME` with `config.Config`, `job.JOB` and a `__main__` of three lines.
"""
