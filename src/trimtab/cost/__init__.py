"""What things cost: the ledger of what each step really took."""
