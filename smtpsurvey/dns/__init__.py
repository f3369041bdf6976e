"""DNS: resolver, mail exchanges, look-ups."""
