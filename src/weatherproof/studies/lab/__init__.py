"""What studies are made of: recipes of models, measures, cells, claims, and what runs them. It knows no paper."""
