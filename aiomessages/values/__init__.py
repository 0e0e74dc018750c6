"""Small values that every layer knows: secrets and how they are hidden, headers, checks."""
