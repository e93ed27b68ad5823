"""The parts of the page that dashboard.py puts together."""
