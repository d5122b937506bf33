"""The steps of a run: for each kind its action (frozen data), its first declared cost, and its handler.

A handler looks at the world to tell whether its work is finished, does it through the domain's modules, and hands
what other programs must do to `trimtab.process`. Steps do not call each other; what one leaves, the next finds.
"""
