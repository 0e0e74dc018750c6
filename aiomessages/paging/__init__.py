"""Pages in a row: cursors, prefetching, streams, and many lists at once."""
