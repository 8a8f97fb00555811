"""From a suite or a study to cells, keys and packs. Nothing here trains or reads records."""
