"""What records and attacks are called in sentences."""
