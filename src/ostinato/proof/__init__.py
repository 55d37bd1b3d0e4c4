"""Checks of the program on this machine: reproduce, crash test, benchmark."""
