"""`/api/v1/chat`: AstrBot's Open API."""
