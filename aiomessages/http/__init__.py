"""Sockets: one request goes out, one response comes in. Nothing is decided here."""
