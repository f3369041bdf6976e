"""The Scrapy add-on that switches smtpsurvey on in any project.

``ADDONS = {"smtpsurvey.addon.SmtpSurveyAddon": 100}`` is all a project needs. What the user sets wins:
everything here is set at add-on priority, below project settings and the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.settings import SETTINGS_PRIORITIES

from smtpsurvey.defaults import apply_defaults

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

STORE = "smtpsurvey.pipelines.store.StorePipeline"  # and SQLAlchemy with it: not without databases
COMPONENTS: dict[str, dict[str, str | int]] = {
    "ITEM_PIPELINES": {
        "smtpsurvey.pipelines.as_filter.AsFilterPipeline": 100,
        "smtpsurvey.pipelines.route_check.RouteCheckPipeline": 150,
        "smtpsurvey.pipelines.rate_limit.RateLimitPipeline": 200,
        "smtpsurvey.pipelines.classify.ClassifyPipeline": 300,
        STORE: 900,
    },
    "EXTENSIONS": {
        "smtpsurvey.extensions.progress.ProgressExtension": 100,
        "smtpsurvey.extensions.summary.SummaryExtension": 110,
        "smtpsurvey.extensions.manifest.ManifestExtension": 120,
        "smtpsurvey.extensions.checkpoint.CheckpointExtension": 130,
    },
    "DOWNLOAD_HANDLERS": {"smtp": "smtpsurvey.probe.handler.SmtpDownloadHandler"},
    "FEED_EXPORTERS": {
        "jsonlines": "smtpsurvey.exporters.FastJsonLinesItemExporter",
        "jsonl": "smtpsurvey.exporters.FastJsonLinesItemExporter",
        "jl": "smtpsurvey.exporters.FastJsonLinesItemExporter",
    },
}
LISTENERS = {
    "TELNETCONSOLE_ENABLED": "scrapy.extensions.telnet.TelnetConsole",
    "REMOTE_CONTROL_ENABLED": "scrapy.extensions.remote_control.RemoteControl",
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
        apply_defaults(settings)
        for name, value in OVERRIDES.items():
            settings.set(name, value, "addon")
        for name, path in LISTENERS.items():
            if not settings.getbool(name):  # what is off need not be imported either: 15 MB less in each job
                usual = settings.getdict("EXTENSIONS_BASE")
                usual.pop(path, None)
                settings.set("EXTENSIONS_BASE", usual, "addon")
        for name, components in COMPONENTS.items():
            for key, value in components.items():
                if key != STORE or any(str(url).strip() for url in settings.getlist("SMTPSURVEY_SHARDS")):
                    _default_in_dict(settings, name, key, value)


def _default_in_dict(settings: BaseSettings, name: str, key: str, value: str | int | None) -> None:
    """Add to a dict setting of Scrapy's what the user has not set."""
    given = settings.getdict(name)
    if key not in {_path_of(k) for k in given}:
        settings.set(name, {**given, key: value}, max(settings.getpriority(name) or 0, ADDON))


def _path_of(key: object) -> str:
    """Name a component, which a user may give as a class too."""
    return f"{key.__module__}.{key.__qualname__}" if isinstance(key, type) else str(key)
