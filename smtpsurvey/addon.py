"""The Scrapy add-on that switches smtpsurvey on in any project.

``ADDONS = {"smtpsurvey.addon.SmtpSurveyAddon": 100}`` is all a project needs. What the user sets wins:
everything here is set at add-on priority, below project settings and the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.settings import SETTINGS_PRIORITIES
from scrapy.utils.misc import load_object

from smtpsurvey.defaults import SETTINGS

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

PIPELINES = {
    "smtpsurvey.pipelines.as_filter.AsFilterPipeline": 100,
    "smtpsurvey.pipelines.rate_limit.RateLimitPipeline": 200,
    "smtpsurvey.pipelines.classify.ClassifyPipeline": 300,
    "smtpsurvey.pipelines.store.StorePipeline": 900,
}
EXTENSIONS = {
    "smtpsurvey.extensions.progress.ProgressExtension": 100,
    "smtpsurvey.extensions.summary.SummaryExtension": 110,
}
HANDLERS = {"smtp": "smtpsurvey.probe.handler.SmtpDownloadHandler"}
EXPORTERS = {
    "jsonlines": "smtpsurvey.exporters.FastJsonLinesItemExporter",
    "jsonl": "smtpsurvey.exporters.FastJsonLinesItemExporter",
    "jl": "smtpsurvey.exporters.FastJsonLinesItemExporter",
}
OVERRIDES = {
    "ITEM_PROCESSOR": "smtpsurvey.processor.SurveyItemProcessor",
    "LOG_FORMATTER": "smtpsurvey.logformatter.QuietLogFormatter",
    # A contact is a decision, and HTTP's rules (robots.txt, retries) mean nothing to an MTA.
    "ROBOTSTXT_OBEY": False,
    # Scrapy opens two listening ports in each job; a survey runs many jobs a host.
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
}


ADDON = SETTINGS_PRIORITIES["addon"]


class SmtpSurveyAddon:
    """Adds pipelines, extensions, feed exporter and the ``smtp://`` handler to the settings."""

    def update_settings(self, settings: BaseSettings) -> None:
        """Set every default of ours at add-on priority; user settings win."""
        for setting in SETTINGS:
            if setting.name not in settings:
                settings.set(setting.name, setting.default, "default")
        for name, value in OVERRIDES.items():
            settings.set(name, value, "addon")
        for path, order in PIPELINES.items():
            settings.setdefault_in_component_priority_dict("ITEM_PIPELINES", load_object(path), order)
        for path, order in EXTENSIONS.items():
            settings.setdefault_in_component_priority_dict("EXTENSIONS", load_object(path), order)
        for scheme, path in HANDLERS.items():
            _default_in_dict(settings, "DOWNLOAD_HANDLERS", scheme, path)
        for name, path in EXPORTERS.items():
            _default_in_dict(settings, "FEED_EXPORTERS", name, path)


def _default_in_dict(settings: BaseSettings, name: str, key: str, value: str) -> None:
    """Add to a dict setting of Scrapy's what the user has not set."""
    settings.set(name, {key: value, **settings.getdict(name)}, max(settings.getpriority(name) or 0, ADDON))
