"""Does the search find what was asked for? A corpus, questions with known answers, and the share that is found."""
