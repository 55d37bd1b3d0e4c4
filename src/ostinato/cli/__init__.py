"""The command line, from overrides to a validated config; one line for each mistake."""
