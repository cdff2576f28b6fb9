"""Points of latent space: which z has which number, and paths from one to another."""
