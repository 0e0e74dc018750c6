"""The API's grammar: calls become requests, responses become pages or errors. No I/O."""
