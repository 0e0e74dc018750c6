"""One call: its attempts, retries, rate limit and deadline."""
