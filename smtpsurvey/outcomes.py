"""The closed enumerations of an observation (design: outcomes, STARTTLS, TLS errors).

Every value is a string that goes into feeds and the store as it stands here. A fact that was not
measured is ``None``, never one of these values and never ``False``.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one probed target."""

    OK = "ok"  # a complete SMTP reply came as greeting, whatever its code
    NOT_SMTP = "not_smtp"  # bytes came that cannot be an SMTP reply
    SILENT = "silent"  # connected, but not one byte of greeting in time
    TOO_SLOW = "too_slow"  # bytes came, but no complete greeting in time
    OVERSIZE = "oversize"  # a greeting over a bound of line, lines or bytes
    CLOSED = "closed"  # closed before a complete greeting
    RESET = "reset"  # RST before a complete greeting, at connect too
    REFUSED = "refused"  # RST (or ICMP port unreachable) to the SYN
    UNREACHABLE = "unreachable"  # ICMP said so
    TIMEOUT = "timeout"  # no answer to the SYN
    EXCLUDED = "excluded"  # never contacted; the reason says why
    LOCAL_ERROR = "local_error"  # ours; never counted as the host's


class Reason(StrEnum):
    """Why a target was excluded. A user's pipeline may give reasons of its own."""

    RESERVED = "reserved"
    OPT_OUT = "opt-out"
    AS = "AS"
    ROUTE = "route"


class StartTls(StrEnum):
    """What became of STARTTLS."""

    NOT_ASKED = "not_asked"  # this survey does not use STARTTLS
    NOT_OFFERED = "not_offered"  # EHLO was answered without STARTTLS, or only HELO was accepted
    REFUSED = "refused"  # the command got a reply other than 220
    FAILED = "failed"  # no handshake after 220, or the connection broke on the command
    OK = "ok"


class Stage(StrEnum):
    """Where a conversation was interrupted, after a complete greeting."""

    EHLO = "ehlo"
    STARTTLS = "starttls"
    TLS = "tls"
    EHLO_TLS = "ehlo_tls"
    QUIT = "quit"


class Trouble(StrEnum):
    """How a conversation was interrupted."""

    CLOSED = "closed"
    RESET = "reset"
    OVERSIZE = "oversize"
    TOO_SLOW = "too_slow"
    NOT_SMTP = "not_smtp"


class Flag(StrEnum):
    """What was odd in a conversation that went on all the same."""

    MIXED_CODES = "mixed_codes"  # the code changed within a reply
    EARLY_REPLY = "early_reply"  # bytes of a reply came before its command was sent


class TlsError(StrEnum):
    """Why a handshake failed; beside these, ``alert:<name>`` and ``other:<text>``."""

    PROTOCOL_VERSION = "protocol_version"
    NO_SHARED_CIPHER = "no_shared_cipher"
    CERTIFICATE = "certificate"
    CLOSED = "closed"
    RESET = "reset"
    TIMEOUT = "timeout"
    NOT_TLS = "not_tls"
    OVERSIZE = "oversize"


class TrustError(StrEnum):
    """Why a chain is not trusted; beside these, ``other:<text>``."""

    SELF_SIGNED = "self_signed"
    UNKNOWN_ISSUER = "unknown_issuer"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    INCOMPLETE_CHAIN = "incomplete_chain"
    WEAK = "weak"


class Certainty(StrEnum):
    """How sure a verdict is."""

    CERTAIN = "certain"  # the server names itself, in its greeting or another reply
    LIKELY = "likely"  # it names nothing, but behaves as this product alone does
    DISPUTED = "disputed"  # its greeting names one product, its behaviour is that of another


class Evidence(StrEnum):
    """The field a software verdict rests on."""

    GREETING = "greeting"
    EHLO = "ehlo"
    EXTENSIONS = "extensions"
    STARTTLS_REPLY = "starttls_reply"
    QUIT = "quit"
    CERTIFICATE = "certificate"
    COMBINED = "combined"


class DnsOutcome(StrEnum):
    """What became of one DNS look-up."""

    OK = "ok"  # records of the type asked for; of an MX look-up also an implicit or null MX
    NXDOMAIN = "nxdomain"  # no such name (RFC 8020: nor any below it)
    NO_DATA = "no_data"  # the name exists, without such a record (RFC 2308 section 2.2)
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"  # no answer from any server within all tries
    BAD_NAME = "bad_name"  # not asked: no name of the DNS (RFC 1035 section 2.3.4)
    BAD_ANSWER = "bad_answer"  # answers that no reader can make sense of, or another RCODE
    LOCAL_ERROR = "local_error"  # ours; never counted as the name's


class MxFlag(StrEnum):
    """What is odd about an exchange, the host that an MX record names."""

    CNAME = "cname"  # an alias, against RFC 5321 section 5.1 and RFC 2181 section 10.3
    LITERAL = "literal"  # an address in place of a name; never probed
    LOCALHOST = "localhost"  # never probed
    DANGLING = "dangling"  # no address
    RESERVED = "reserved"  # an address in reserved space, which is never probed
    BAD_NAME = "bad_name"  # no host name


class Dane(StrEnum):
    """What DANE says of a server's chain (RFC 7672)."""

    SECURE_MATCH = "secure-match"  # its zone is signed and publishes this chain
    SECURE_MISMATCH = "secure-mismatch"  # its zone is signed and publishes another one
    INSECURE = "insecure"  # there are records, but nobody vouches for them
    NONE = "none"  # no record, or none that SMTP can use
    NOT_MEASURED = "not_measured"  # no name, no answer, or no chain to compare
