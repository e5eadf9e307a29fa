"""The ledger: instances, jobs and deliveries, and the states they may be in."""
