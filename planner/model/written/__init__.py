"""Layers that a written description may have and a network has not: each becomes lines of a unit graph when it is read.

A file per family. `planner.model.written.expand` makes a `Model` of what was written; nothing behind it knows of them.
No torch here.
"""
