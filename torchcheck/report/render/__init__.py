"""One module an output format; each turns the `data` of a command's JSON document into that format."""
