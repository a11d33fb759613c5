"""Pictures and views."""
