"""Names the software behind a conversation by fingerprints kept as data (``data/*.toml``)."""

from smtpsurvey.classify.classifier import Classifier
from smtpsurvey.classify.rules import RulesError, Transcript
from smtpsurvey.classify.verdict import Match

__all__ = ["Classifier", "Match", "RulesError", "Transcript"]
