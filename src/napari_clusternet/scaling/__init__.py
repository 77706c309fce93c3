"""Larger than memory, and more than one machine: `apply`, and k-means over tiles."""
