"""Many images in few files: tar shards, Parquet tables, Hugging Face data sets."""
