"""Products of a few left rows and a panel of right rows, in the machine's best arithmetic."""
