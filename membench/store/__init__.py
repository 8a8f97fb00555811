"""Records on disk: appended durably, merged, and which of them count."""
