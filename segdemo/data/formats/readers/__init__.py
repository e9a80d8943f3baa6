"""Reading, one module a format. Each has ``find(reader)``, which gives a ``reader.Found``, or None."""
