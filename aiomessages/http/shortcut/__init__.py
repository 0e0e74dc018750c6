"""A shorter way to send a request on a connection that is already open."""
