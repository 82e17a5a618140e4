"""What a network is trained for: a file per task, each a class that says everything but its arithmetic.

Standard library alone: labels and their bytes, the metric and which way it is better. The arithmetic (loss, counting,
fitting of exits) is in `planner.training.tasks`, with torch. `docs/extending.md` adds one.
"""
