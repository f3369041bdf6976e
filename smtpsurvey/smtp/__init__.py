"""The SMTP conversation, sans-I/O: bytes in, actions out (no Twisted, no Scrapy)."""
