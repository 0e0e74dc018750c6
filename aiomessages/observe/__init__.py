"""Who is told what the client does: the log, and telemetry."""
