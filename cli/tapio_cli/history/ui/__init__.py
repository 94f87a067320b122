"""The history as a local web page: the answers of the commands, drawn."""
