"""Networks that are measured and that torchvision does not have: small random ones, blocks, a paper's."""
