"""From a suite or a study to cells, keys and packs. Pure: nothing here trains or reads records."""
