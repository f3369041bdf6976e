"""A simulated Internet of mail servers on the loopback range, with known truth.

It shares no code with the rooms it checks: two halves of one mind agreeing would prove nothing.
"""
