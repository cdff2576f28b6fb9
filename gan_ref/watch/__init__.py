"""What a person sees while a run trains: progress, curves, pictures, a film, the best checkpoint."""
