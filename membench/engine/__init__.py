"""Stacked training: many cells of one program at once, one lane each. The only package that imports torch."""
