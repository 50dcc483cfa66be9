"""Pure data: recipes, locks and manifests. Nothing here touches disk or network."""
