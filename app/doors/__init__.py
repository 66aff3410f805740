"""The protocols that clients speak, one package each; none imports another."""
