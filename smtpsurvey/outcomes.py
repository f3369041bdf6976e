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
    MASKED_KEYWORD = "masked_keyword"  # a keyword of EHLO is a row of X: a middlebox wrote over it


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


class RouteStop(StrEnum):
    """Why a traceroute ended."""

    COMPLETED = "completed"  # the destination answered
    UNREACH = "unreach"  # ICMP destination unreachable
    ICMP = "icmp"  # another ICMP error
    LOOP = "loop"  # a hop came again
    GAPLIMIT = "gaplimit"  # five hops in a row were silent
    HOPLIMIT = "hoplimit"  # as many hops as we look at
    NONE = "none"
    ERROR = "error"  # ours; never counted as the route's


class Dane(StrEnum):
    """What DANE says of a server's chain (RFC 7672)."""

    SECURE_MATCH = "secure-match"  # its zone is signed and publishes this chain
    SECURE_MISMATCH = "secure-mismatch"  # its zone is signed and publishes another one
    INSECURE = "insecure"  # there are records, but nobody vouches for them
    NONE = "none"  # no record, or none that SMTP can use
    NOT_MEASURED = "not_measured"  # no name, no answer, or no chain to compare


class MtaSts(StrEnum):
    """Whether a domain has a policy of MTA-STS (RFC 8461), or why there is none that counts."""

    OK = "ok"  # there is a valid policy, whatever its mode
    NONE = "none"  # no record
    BAD_RECORD = "bad_record"  # several records, or one that is not valid (section 3.1)
    NO_ANSWER = "no_answer"  # DNS did not say whether there is a record, or an address
    NO_ADDRESS = "no_address"  # the policy host has none
    EXCLUDED = "excluded"  # the policy host was not asked; the reason says why
    UNREACHABLE = "unreachable"  # no connection to it
    TIMEOUT = "timeout"  # no complete answer in time
    TLS = "tls"  # no handshake
    CERTIFICATE = "certificate"  # not trusted, or for another name (section 3.3)
    BROKEN = "broken"  # the connection ended before the answer did, or what came is no HTTP
    REDIRECT = "redirect"  # never followed (section 3.3)
    STATUS = "status"  # another status than 200
    CONTENT_TYPE = "content_type"  # not text/plain (section 3.2)
    OVERSIZE = "oversize"  # more than 64 KiB
    BAD_POLICY = "bad_policy"  # the file is not valid (section 3.2)
    BAD_NAME = "bad_name"  # not asked: no name of the DNS
    LOCAL_ERROR = "local_error"  # ours; never counted as the domain's


class TlsRpt(StrEnum):
    """Whether a domain asks for reports on TLS (RFC 8460)."""

    OK = "ok"
    NONE = "none"  # no record
    BAD_RECORD = "bad_record"  # several records, or one that is not valid (section 3)
    NO_ANSWER = "no_answer"  # DNS did not say


class Staple(StrEnum):
    """What the OCSP response says that a server sent with its certificate (RFC 6066 section 8), unverified."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # its responder does not know the certificate
    EXPIRED = "expired"  # another one should have come by now
    UNREADABLE = "unreadable"  # no response, or an error in its place
    NONE = "none"  # it sent none


class TlsSecond(StrEnum):
    """What a second connection to the same server offered that the first one did not."""

    NO_NAME = "no_name"  # the same, without the server's name (SNI)
    DEPRECATED = "deprecated"  # TLS 1.0 and 1.1 alone (RFC 8996)


class KeyWeakness(StrEnum):
    """Why a public key is weak."""

    SMALL = "small"  # RSA or DSA below 2,048 bits, EC below 224
    LISTED = "listed"  # in a block list of compromised keys, such as Debian's of 2008 (CVE-2008-0166)
    COMMON_FACTOR = "common_factor"  # shares a prime with another key of the survey
    KNOWN_FACTOR = "known_factor"  # has a prime that earlier surveys found shared
    CLOSE_PRIMES = "close_primes"  # Fermat's method finds its primes (CVE-2022-26320)
    ROCA = "roca"  # made by Infineon's library (CVE-2017-15361)
    SMALL_FACTOR = "small_factor"  # has a prime factor of 65,537 at most: no key, or a broken one
    SMALL_PRIVATE_EXPONENT = "small_private_exponent"  # Wiener's attack finds it
    EXPONENT = "exponent"  # a public exponent below 3, or above the modulus
    SPARSE = "sparse"  # rows of zero bits, of which the primes can be had
    BIASED = "biased"  # far more bits of one kind than of the other
    PATTERN = "pattern"  # one byte again and again


class HttpOutcome(StrEnum):
    """What became of a page that was fetched."""

    OK = "ok"  # an answer came, whatever its status
    NO_NAME = "no_name"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    FAILED = "failed"  # TLS, a connection that broke, or no HTTP
    TOO_LARGE = "too_large"  # compressed, although nobody asked for that, and too large
    EXCLUDED = "excluded"  # never contacted
