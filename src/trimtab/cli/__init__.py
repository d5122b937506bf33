"""The commands: they read arguments, call one thing, and show its result. Nothing is decided here."""
