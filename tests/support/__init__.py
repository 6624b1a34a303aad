"""What tests in several folders share: makers of inputs, comparisons of stores."""
