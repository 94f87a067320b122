"""`tapioctl`: the operator's command line."""
