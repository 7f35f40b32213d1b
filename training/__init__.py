"""Makes the embedded models: the drawn world, the training and the export. Not part of the wheel."""
