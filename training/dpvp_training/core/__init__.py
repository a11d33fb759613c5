"""What all training systems share."""
