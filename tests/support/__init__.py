"""What several tests share: small packs, records and boards, a command line, fake GPUs."""
