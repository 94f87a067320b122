"""`tapioctl doctor`: what is wrong, by what it was found, and what to do next."""
