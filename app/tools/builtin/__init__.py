"""Tools that need nothing but Palaver itself."""
