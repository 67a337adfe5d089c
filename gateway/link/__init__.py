"""Floor 1: how the processes of one gateway talk to each other."""
