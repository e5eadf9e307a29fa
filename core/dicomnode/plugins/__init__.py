"""Floor 3: the contract with plugins, and their discovery."""
