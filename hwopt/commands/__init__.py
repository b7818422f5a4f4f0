"""Commands of `hwopt`, one per module. Heavy libraries are imported inside them."""
