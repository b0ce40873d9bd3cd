"""One record describes a render; flags, YAML, presets and embedded recipes are layers of it."""
