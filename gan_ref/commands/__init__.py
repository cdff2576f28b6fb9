"""The commands, one a file: each turns its flags into one call and says in words what came of it."""
