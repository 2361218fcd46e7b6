"""Search for the settings of a training by its dev part."""
