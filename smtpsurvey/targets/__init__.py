"""Where targets come from: lists in files and pipes, their lines, host names, shards of a list."""
