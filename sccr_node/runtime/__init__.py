"""The program's own environment: console, signals, the machine's resources, caches."""
