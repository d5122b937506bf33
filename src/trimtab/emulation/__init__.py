"""Stand-ins for the clouds on this machine: for trying and testing; each says what it does not prove."""
