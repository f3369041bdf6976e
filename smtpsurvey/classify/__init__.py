"""Names the software behind a conversation by fingerprints kept as data (``data/*.toml``)."""

from smtpsurvey.classify.classifier import Classifier, Match
from smtpsurvey.classify.rules import RulesError, Transcript

__all__ = ["Classifier", "Match", "RulesError", "Transcript"]
