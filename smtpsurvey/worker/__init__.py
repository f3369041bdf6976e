"""Command files and the self-test of a node: work that comes a line at a time."""
