"""The commands of `hwopt`, a module each. Heavy libraries are imported inside them."""
