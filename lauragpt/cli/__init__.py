"""The command line: `laura VERB`."""
