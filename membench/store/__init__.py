"""Records on disk: appended durably, merged into sorted files, and which of them count."""
