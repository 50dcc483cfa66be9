"""``isobuilder sbom`` and what else an auditor asks."""
