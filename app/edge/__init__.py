"""HTTP as all doors share it: requests, answers, errors, routes and their document."""
