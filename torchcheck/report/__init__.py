"""Documents, their redaction, and what differs between two of them (pure)."""
