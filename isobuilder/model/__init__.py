"""Our own documents as frozen values: recipe, lock, cluster, configuration, profile."""
