"""Learned parts on disk and in memory: the artifact and what is read from it."""
