"""Networks and scales that several papers on pretraining share."""
