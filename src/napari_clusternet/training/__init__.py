"""The parts of step 1's training: patches, views, losses, the two modes, and the run's state."""
