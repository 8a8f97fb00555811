"""Which plugins there are: finding, loading, checking and hashing them; plain data about each."""
