"""Browser tokens and browser sessions: how a web page acts for a user without the text of a key."""
