"""What the tests stand on: servers, clients and fixtures."""
