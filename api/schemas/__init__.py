"""The service's own requests and answers. Documents of the planner have their schemas beside it."""
