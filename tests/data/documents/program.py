def greet(name: str) -> str:
    return f"Grüße, {name}!"
