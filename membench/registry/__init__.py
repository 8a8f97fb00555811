"""The plugins: find, import, check and hash them, and describe each by plain data."""
