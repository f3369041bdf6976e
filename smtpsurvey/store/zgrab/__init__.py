"""zgrab2's results: JSON, one line a target."""
