"""From optimisation and reinforcement learning to artifacts that dpvp deploys. The only place with torch."""
