"""A simulated Internet of mail servers on the loopback range, with known truth.

It shares no code with the rooms it checks: two halves of one mind agreeing would prove nothing.
"""

from smtpsurvey.errors import SurveyError

LIVE_SHARE = 0.016  # of the addresses: these listen
NASTY_SHARE = 0.05  # of those: these misbehave


class LabError(SurveyError):
    """A lab that cannot be made as asked, or a file of its that cannot be used; the message says why."""
