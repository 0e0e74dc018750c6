"""Sockets: send one request, and read one response. No decision is taken here."""
