"""Claims of the paper, and ours, as trainings that a laptop can run, and a verdict on each."""
