"""Scrapy item pipelines, one a file; those with ``admit(target)`` also act before the socket is opened."""
