"""Probing: sockets, timers and the prober that feeds targets to them (Twisted)."""
