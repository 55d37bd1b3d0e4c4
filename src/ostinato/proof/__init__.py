"""Shows that the promises hold here: reproduce, crash test, benchmark."""
