"""The examples, each run in the real proxy that it is for."""
