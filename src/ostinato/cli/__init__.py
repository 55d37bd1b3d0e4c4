"""The command line: from overrides to a validated config, with one line per mistake."""
