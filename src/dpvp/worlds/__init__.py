"""Plants to try things on."""
