"""Architectures that torchvision does not have: random small networks, blocks, NeuralPower's networks."""
