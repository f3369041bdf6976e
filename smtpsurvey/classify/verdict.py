"""What the classifier finds: the rule that matched, what it names, how surely, and the verdict of it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.classify import names
from smtpsurvey.classify.rules import Transcript
from smtpsurvey.items import Software
from smtpsurvey.outcomes import Certainty, Evidence

if TYPE_CHECKING:
    from smtpsurvey.classify.rules import Rule

_EVIDENCE = {
    **{field: Evidence(field) for field in Transcript._fields if field != "tls_extensions"},
    "tls_extensions": Evidence.EXTENSIONS,
}


class Naming(NamedTuple):
    """What a rule says whatever it captures: the one name of the product, the evidence, and how sure that is."""

    name: names.Name
    evidence: Evidence
    certainty: Certainty

    @classmethod
    def of(cls, rule: Rule) -> Naming:
        """Work it out for a rule."""
        fields = list(rule.given())
        evidence = _EVIDENCE[fields[0]] if len(fields) == 1 else Evidence.COMBINED
        return cls(names.canonical(rule.vendor, rule.product), evidence, rule.sure)


class Match(NamedTuple):
    """A rule that matched, what it captured (version, host, os, edition), and what it names.

    ``claims`` is there when greeting and behaviour contradict: the product that each of the two names.
    """

    rule: Rule
    captures: dict[str, str]
    naming: Naming
    claims: dict[str, str] | None = None

    @property
    def software(self) -> Software:
        """The verdict as an item carries it."""
        rule, captures, (name, evidence, certainty) = self.rule, self.captures, self.naming
        version = captures.get("version", rule.version)
        edition = captures.get("edition", rule.edition)
        system = captures.get("os", rule.os)
        if version is not None:
            edition = edition or names.release(name.product, version)
            system = system or names.release(name.product, version, "os")
        return Software(
            name.vendor,
            name.product,
            version,
            rule.id,
            evidence,
            edition,
            system and names.operating_system(system),
            names.cpe(name, version),
            Certainty.DISPUTED if self.claims else certainty,
            self.claims,
        )
