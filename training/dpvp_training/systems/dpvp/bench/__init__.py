"""Studies of what DPVP has learned: `python -m dpvp_training.systems.dpvp.bench STUDY`; JSON and PNG."""
