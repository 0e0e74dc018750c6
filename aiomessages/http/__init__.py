"""Sockets: one request goes out, one response comes in. No decision is taken here."""
