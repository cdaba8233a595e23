"""What a flight recorder kept, looked at: `purepool replay`."""
