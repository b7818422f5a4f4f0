"""Selection of the operators and networks that a campaign measures."""
