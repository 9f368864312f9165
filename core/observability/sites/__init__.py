"""Fan-in: the snapshots of several desks, merged into one that names the sites it lacks."""
