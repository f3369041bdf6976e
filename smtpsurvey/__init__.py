"""smtpsurvey: surveys of the Internet's mail servers, as a Scrapy project."""
