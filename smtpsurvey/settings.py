"""This project's Scrapy settings: the add-on, and what only a whole project may decide."""

BOT_NAME = "smtpsurvey"
SPIDER_MODULES = ["smtpsurvey.spiders"]
NEWSPIDER_MODULE = "smtpsurvey.spiders"
COMMANDS_MODULE = "smtpsurvey.commands"
ADDONS = {"smtpsurvey.addon.SmtpSurveyAddon": 100}

# uvloop halves what a turn of the event loop costs; any reactor works.
ASYNCIO_EVENT_LOOP = "uvloop.Loop"

# The progress line says more than Scrapy's "Crawled 0 pages", and the summary more than its dump.
LOG_LEVEL = "INFO"
LOGSTATS_INTERVAL = 0

# Who we are is said to every server, and needed for anything but loopback: give SMTPSURVEY_HELO and
# SMTPSURVEY_CONTACT here or with -s.
