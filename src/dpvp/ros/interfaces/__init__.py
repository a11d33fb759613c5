"""Message packages for machines where no apt package provides them: feedback gains, and the controller manager."""
