"""How anything with axes or pixels is drawn."""
