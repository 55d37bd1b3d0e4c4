"""`report.html`, the run at a glance: one file that asks nobody for anything, for screen, phone and paper."""
