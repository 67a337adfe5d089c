"""Floor 1: routes.yaml and the environment become one frozen snapshot."""
