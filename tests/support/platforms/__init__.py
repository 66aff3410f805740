"""Stand-ins for chat platforms: each applies its platform's own rules, and lists what people see."""
