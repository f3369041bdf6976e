"""Routes: traceroutes by scamper, and the ASes on them."""
