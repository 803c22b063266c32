"""The page's part about what is no suite and no attack: tables, and curves over damage and labels."""
