"""What a user may ask for, and what is recorded of it: nothing here computes, and nothing here imports numpy."""
