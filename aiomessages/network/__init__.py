"""The way to the API that a user sets: a proxy, and the certificates of TLS. Nothing here sends."""
