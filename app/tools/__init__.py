"""Tools that a model can call: what they are, which ones a reply has, and how a call is carried out."""
