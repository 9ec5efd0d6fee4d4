"""Order rows so that neighbours in space are neighbours in memory."""
