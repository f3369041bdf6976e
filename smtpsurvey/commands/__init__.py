"""Scrapy commands (``COMMANDS_MODULE``), one a file."""
