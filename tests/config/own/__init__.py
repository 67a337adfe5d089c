"""Classes that routes.yaml names as plugins, right ones and wrong ones."""
