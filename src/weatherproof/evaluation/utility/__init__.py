"""Which pixels are useful, and which an encoder reacts to."""
