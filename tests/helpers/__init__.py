"""What tests and benchmarks share: stand-ins for Yahoo and AWS, drivers that act like Lambda, test data."""
