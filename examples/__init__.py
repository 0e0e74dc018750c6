"""Complete programs around aiomessages, each in a folder of its own and run by the tests."""
