"""Checks of the program's promises on this machine: reproduce, crash test, benchmark."""
