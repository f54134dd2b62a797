"""Named, hashed bytes beside the journal. ``base.Blobs`` is the door, ``folder`` behind it."""
