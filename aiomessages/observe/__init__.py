"""The log and the telemetry of what a client does."""
