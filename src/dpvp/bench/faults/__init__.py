"""The fault campaign: what breaks around the loop, and whether the robot is in a safe state soon after."""
