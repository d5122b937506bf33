"""The embedded Modal: a control plane on loopback that records what the real client sends, and executes it."""
