"""What every slice needs and none owns: free of the domain."""
