"""Stacked training: many cells of one program at once, one lane each.

The packages below it and the pages above it work without torch.
"""
