"""Many runs of one command: jobs, searches, and the end of a sweep."""
