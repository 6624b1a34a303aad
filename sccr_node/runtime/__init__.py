"""What the program stands on while it runs: console, signals, resources of the machine, caches."""
