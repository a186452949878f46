"""Commands of a device: it pairs, keeps what it was handed, and gives it back."""
