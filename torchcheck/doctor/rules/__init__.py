"""The rules, one module a section of the table of codes; every module here is scanned."""
