"""Clients of Palaver made by other people's generators from its OpenAPI document: `make sdks` builds and runs them."""
