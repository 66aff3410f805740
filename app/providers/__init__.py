"""The model servers, behind one client."""
