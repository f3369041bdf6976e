"""Scrapy extensions: what a survey shows while it runs and when it ends."""
