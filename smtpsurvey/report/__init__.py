"""The report: one self-contained page, and each of its tables as CSV and JSON."""
