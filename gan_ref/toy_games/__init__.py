"""Games small enough to see whole: the convergence theory of GANs in dynamics.py, drawn by picture.py."""
