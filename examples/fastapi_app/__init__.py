"""An app that shows stored conversations in a browser, message by message as they arrive."""
