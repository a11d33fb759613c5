"""The message package that carries feedback gains, for machines where no apt package provides it."""
