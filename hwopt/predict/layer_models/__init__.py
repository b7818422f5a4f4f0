"""Models of one layer: Paleo, NeuralPower, hybrid; their interface and registry."""
