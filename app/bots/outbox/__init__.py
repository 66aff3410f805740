"""Messages on their way to platforms: stored first, then delivered in the order of their chats."""
