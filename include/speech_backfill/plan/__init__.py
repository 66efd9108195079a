"""Planning: from a source to a frozen manifest, chunks and shards, without paying for anything."""
