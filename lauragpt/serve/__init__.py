"""Serving: the verbs for programs that speak another protocol than the command line."""
