"""DBSCAN by one pass over the pairs of rows, in bounded memory."""
