"""The contract: what every command takes, light enough for a help page; every face derives from it."""
