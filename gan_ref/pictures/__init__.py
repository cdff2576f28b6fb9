"""Pictures a person can open: pages of images, runs in the plane, and movies of either."""
