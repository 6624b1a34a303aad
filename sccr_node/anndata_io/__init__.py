"""The AnnData edge: readers, checks, preparation and writers; the only place that knows files."""
