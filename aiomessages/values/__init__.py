"""Small values that every layer uses: secrets, redaction, headers, plain strings and ints."""
