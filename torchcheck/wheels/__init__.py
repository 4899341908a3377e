"""Which wheels of the torch family a machine can really run: catalog and plan (pure), offers (what indexes have)."""
