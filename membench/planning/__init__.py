"""Turn a suite or a study into cells, keys and packs. Nothing here trains or reads records."""
