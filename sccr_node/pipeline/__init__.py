"""The commands that impute, from file to file: plan, run, write, publish; and the report on a result."""
