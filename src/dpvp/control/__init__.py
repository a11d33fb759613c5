"""The loop, its guard and the law at the plant."""
