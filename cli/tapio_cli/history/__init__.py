"""The recorded history: where it comes from, how it is kept in a file, and what it answers."""
