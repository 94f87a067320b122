"""Builders: one component per file, one function per object; `None` means the object is not wanted."""
