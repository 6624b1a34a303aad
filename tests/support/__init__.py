"""What tests of several folders share: makers of inputs, comparisons of stores."""
